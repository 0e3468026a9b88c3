"""Holds the one error of a release."""

from workers.errors import DutifulError


class ReleaseError(DutifulError):
    """This commit can't be released as it is."""
