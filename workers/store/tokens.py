"""Tokens say who may send which jobs over HTTP; each is shown once, and only its digest is kept.

A token is `dutiful_<id>_<secret>`. The secret has 256 random bits, so that a plain hash of it can't be guessed back.
"""

import hashlib
import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, insert, select, update

from workers.errors import ConfigurationError
from workers.store import audit, tables
from workers.store.engine import moment, outages

PREFIX: Final = "dutiful_"
EVERY: Final = "*"


@dataclass(frozen=True)
class Token:
    """What is known of a token.

    Attributes:
      actors: whose jobs it may send and look at; EVERY among them: all.
      revoked_at: since when it is good for nothing; None: it is good.
    """

    id: str
    name: str
    digest: str
    actors: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None

    def allows(self, actor: str) -> bool:
        """Whether it is good for this actor's jobs."""
        return actor in self.actors or EVERY in self.actors


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def add(connection: Connection, name: str, actors: Collection[str], *, who: str | None = None) -> str:
    """Make a token, and return it. It is kept nowhere: this is the only time that it can be seen.

    Parameters:
      name: of whoever gets it; a revoked one's name is not used again.
      who: for the audit trail; None: this process's user.

    Raises:
      ConfigurationError: the name is taken, or there is no name or no actor.
      StoreUnavailable: the store can't be reached.
    """
    if not name.strip() or not actors:
        raise ConfigurationError(
            "a token can't be made", expected="a name, and at least one actor", received=repr(name)
        )
    columns = tables.tokens.c
    with outages("a token could not be recorded"):
        if connection.execute(select(columns.id).where(columns.name == name)).first() is not None:
            raise ConfigurationError(
                f"there is a token {name} already", expected="another name: revoked ones stay on record", received=name
            )
        identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        row = {"id": identity, "name": name, "digest": digest(secret), "actors": json.dumps(sorted(actors))}
        connection.execute(insert(tables.tokens).values(created_at=moment(connection), **row))
    who = who or audit.operator()
    audit.write(connection, who=who, action="added token", reason="", detail=f"{name}: {', '.join(sorted(actors))}")
    return f"{PREFIX}{identity}_{secret}"


def revoke(connection: Connection, name: str, *, reason: str, who: str | None = None) -> bool:
    """Make a token good for nothing. False: there is none of that name, or it was revoked before.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.tokens.c
    with outages("a token could not be revoked"):
        good = update(tables.tokens).where(columns.name == name, columns.revoked_at.is_(None))
        revoked = connection.execute(good.values(revoked_at=moment(connection))).rowcount
    if revoked:
        audit.write(connection, who=who or audit.operator(), action="revoked token", reason=reason, detail=name)
    return bool(revoked)


def read(connection: Connection) -> list[Token]:
    """Every token, by name, the revoked ones too.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("tokens could not be read"):
        rows = connection.execute(select(tables.tokens).order_by(tables.tokens.c.name)).mappings().all()
    return [Token(**{**row, "actors": frozenset(json.loads(row["actors"]))}) for row in rows]
