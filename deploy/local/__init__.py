"""Runs docker-compose.yml without Docker: private processes on free ports of 127.0.0.1, and nothing left behind."""

from deploy.local.errors import StackError
from deploy.local.stack import Stack

__all__ = ["Stack", "StackError"]
