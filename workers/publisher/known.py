"""Known contracts let a job be refused before it is sent: exported files, or what a gateway says."""

import json
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..errors import ConfigurationError, ContractError
from .checking import faults

_OURS: Final = "x-dutiful"
_MOST_TOLD: Final = 5


class KnownContract:
    """What one actor takes.

    Attributes:
      actor, version, queue: as it says itself.
      keeps_a_record: the actor has a key, so that a message which comes twice runs once.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            about = schema[_OURS]
            self.actor, self.version = str(about["actor"]), str(about["version"])
            self.queue, self.keeps_a_record = str(about["queue"]), about["key"] is not None
        except (KeyError, TypeError) as error:
            raise ConfigurationError(
                "a contract can't be read", expected="what dutiful contracts export writes", received=repr(error)
            ) from None
        self.schema = schema

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Compare arguments, as JSON types, with the contract.

        Raises:
          ContractError: they don't match; it names each argument at fault, and no value.
        """
        found = faults(arguments, self.schema)
        if found:
            more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
            raise ContractError(
                f"{self.actor} can't take these arguments: {'; '.join(found[:_MOST_TOLD])}{more}",
                expected=f"contract {self.version} of {self.actor}",
                received=f"arguments {', '.join(arguments) or 'none'}",
            )


class KnownContracts:
    """What the actors take, by their names."""

    def __init__(self, schemas: Iterable[Mapping[str, Any]]) -> None:
        self._by_actor = {each.actor: each for each in map(KnownContract, schemas)}

    @classmethod
    def from_folder(cls, folder: Path | str) -> Self:
        """Read what `dutiful contracts export` wrote.

        Raises:
          ConfigurationError: there is nothing, or a file can't be read.
        """
        paths = [path for path in sorted(Path(folder).glob("*.json")) if "@" not in path.stem]
        if not paths:
            raise ConfigurationError("there are no contracts", expected="exported files", received=str(folder))
        try:
            return cls([json.loads(path.read_text(encoding="utf-8")) for path in paths])
        except (OSError, ValueError) as error:
            raise ConfigurationError("the contracts can't be read", received=f"{folder}: {error}") from None

    @classmethod
    def from_gateway(cls, url: str, token: str, *, timeout_seconds: float = 5) -> Self:
        """Ask a gateway, once. It tells of the actors that the token may use.

        Parameters:
          url: such as https://jobs.example.com, without /v1.

        Raises:
          ConfigurationError: it can't be reached, or says no.
        """
        expected = "a gateway that answers GET /v1/contracts, and a token that it takes"
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError("the gateway's address can't be read", expected="http:// or https://")
        request = Request(f"{url.rstrip('/')}/v1/contracts", headers={"Authorization": f"Bearer {token}"})  # noqa: S310  looked at above
        try:
            with urlopen(request, timeout=timeout_seconds) as answer:  # noqa: S310
                return cls(json.load(answer)["contracts"].values())
        except (OSError, HTTPException, ValueError, KeyError, AttributeError) as error:
            if isinstance(error, HTTPError):
                error.close()  # it is the answer too
            raise ConfigurationError(
                "the contracts can't be had", expected=expected, received=f"{url}: {error}", safe_to_retry=True
            ) from None

    def contract(self, actor: str) -> KnownContract:
        """The contract of an actor.

        Raises:
          ContractError: there is none of that name.
        """
        if actor not in self._by_actor:
            raise ContractError(
                f"no contract is known for {actor}", expected=f"one of {', '.join(self._by_actor)}", received=actor
            )
        return self._by_actor[actor]
