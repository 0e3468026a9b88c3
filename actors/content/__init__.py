"""The posts of the site come in through here."""

from actors.content.importing import finish_feed, import_batch, import_feed

__all__ = ["finish_feed", "import_batch", "import_feed"]
