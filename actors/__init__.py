"""Every job is imported here, after the broker that it belongs to is set up."""

from actors.settings import site_settings
from workers.broker import setup_broker

setup_broker()  # first: an actor binds to Dramatiq's broker when its module is imported
site_settings()  # a misspelt setting stops the process here, and not its first job

from actors import content, sitemap, upkeep  # noqa: E402  the one import that has to come late

__all__ = ["content", "sitemap", "upkeep"]
