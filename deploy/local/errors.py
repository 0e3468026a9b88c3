"""Holds the one error of the local stack."""

from __future__ import annotations

from workers.errors import DutifulError


class StackError(DutifulError):
    """The local stack can't do what it was asked: an unknown key in the compose file, a service that doesn't start."""
