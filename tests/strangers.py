"""Gives tests addresses at which no server answers: one refuses, the other says nothing."""

import socket

import pytest


@pytest.fixture
def closed():
    """An address that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def frozen():
    """An address that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
