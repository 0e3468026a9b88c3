"""The door lets in who has a token, from a list in memory: a wrong token costs the store nothing."""

import hmac
import time
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from workers.gateway.problems import RETRY_SECONDS, Refusal
from workers.store import tokens
from workers.store.engine import begin, read_only
from workers.store.tokens import Token

STALE_SECONDS: Final = 60.0
_SCHEME: Final = "bearer "
# Compared with, where no token has the id that was given: both answers then take the same time.
_NOBODY: Final = Token("", "", tokens.digest(""), frozenset(), datetime.min.replace(tzinfo=UTC), None)


class Door:
    """Knows every token that is good.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._known: dict[str, Token] = {}
        self._looked_at: float | None = None

    def look(self) -> None:
        """Read the tokens anew.

        Raises:
          StoreUnavailable: those that were known stay so for a minute.
        """
        with begin(read_only(self.engine)) as connection:
            found = tokens.read(connection)
        self._known = {each.id: each for each in found if each.revoked_at is None}
        self._looked_at = time.monotonic()

    def admit(self, authorization: str | None) -> Token:
        """Whose token this is.

        Parameters:
          authorization: the header.

        Raises:
          Refusal: it is nobody's, or that can't be told now.
        """
        if self._looked_at is None or time.monotonic() - self._looked_at > STALE_SECONDS:
            raise Refusal(
                "unavailable",
                "tokens can't be looked up",
                expected="a store that answers, and is the one of RabbitMQ's vhost",
                safe_to_retry=True,
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        given = authorization or ""
        token = given[len(_SCHEME) :].strip() if given[: len(_SCHEME)].lower() == _SCHEME else ""
        identity, _, secret = token.removeprefix(tokens.PREFIX).partition("_")
        known = self._known.get(identity, _NOBODY)
        if not hmac.compare_digest(known.digest, tokens.digest(secret)) or known is _NOBODY:
            raise Refusal(
                "unauthenticated",
                "the token is not known" if given else "there is no token",
                expected="Authorization: Bearer and a token that `dutiful tokens add` has shown",
                received="another one" if given else "no Authorization",
                headers={"WWW-Authenticate": 'Bearer realm="dutiful"' + (', error="invalid_token"' if given else "")},
            )
        return known
