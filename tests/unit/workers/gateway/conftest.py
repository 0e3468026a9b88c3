"""A gateway on a broker in memory: client(token) sends as whoever has that token."""

import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from workers.gateway.app import Gateway, build
from workers.store import tokens
from workers.store.engine import begin


@pytest.fixture
def gateway(jobs):
    sys.path.insert(0, str(Path(__file__).parent))
    import desk  # noqa: F401, PLC0415  its actors belong to the broker that `jobs` has set up

    sys.path.pop(0)
    return Gateway(jobs.broker, threads=4, max_body_bytes=10_000)


@pytest.fixture
def app(gateway):
    with TestClient(build(gateway)) as client:
        yield client


@pytest.fixture
def add_token(jobs, gateway):
    """Make a token that the gateway knows: add_token("shop", "desk.order")."""

    def add(name, *actors):
        with begin(jobs.store) as connection:
            token = tokens.add(connection, name, actors)
        gateway.door.look()
        return token

    return add


@pytest.fixture
def shop(app, add_token):
    """A client that may send everything."""
    app.headers["Authorization"] = f"Bearer {add_token('shop', tokens.EVERY)}"
    return app
