"""The posts of the site come in through here."""

from actors.content.importing import import_batch, import_feed

__all__ = ["import_batch", "import_feed"]
