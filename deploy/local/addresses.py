"""Rewrites the addresses of the compose file to where the services really are: 127.0.0.1 and free ports.

In containers each service has a host name of its own and may use its favourite port. On one host there is one
loopback address, so that ports have to differ. The rules, all of them:

1. `postgres:5432` becomes `127.0.0.1:<real port>`, where postgres is a service and 5432 one of its ports.
2. `127.0.0.1:5672`, `localhost:5672`, `0.0.0.0:5672` and `/dev/tcp/127.0.0.1/5672` in what belongs to a service mean
   the service itself, and get its real port.
3. An environment variable whose name ends in PORT and whose value is one of the service's own ports gets the real port.
4. `0.0.0.0` becomes `127.0.0.1`: nothing listens beyond loopback.
5. A path inside a volume becomes the path on this host.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOOPBACK = "127.0.0.1"
ANYWHERE = re.compile(r"(?<![\w.])0\.0\.0\.0(?![\w.])")
OWN = re.compile(r"(?<![\w.])(?:127\.0\.0\.1|localhost|0\.0\.0\.0)([:/])(\d{2,5})\b")

Ports = dict[str, dict[int, int]]
"""Service → port in the compose file → port on this host."""


class Addresses:
    """Where everything is, as one service has to see it.

    Parameters:
      service: the service whose texts are rewritten.
      ports: the real ports of all services.
      paths: path inside a volume → path on this host.
    """

    def __init__(self, service: str, ports: Ports, paths: Mapping[str, Path] | None = None) -> None:
        self._own = ports.get(service, {})
        self._ports = ports
        self._paths = dict(paths or {})
        names = "|".join(re.escape(name) for name in sorted(ports, key=len, reverse=True))
        self._others = re.compile(rf"(?<![\w.-])({names}):(\d{{2,5}})\b")

    def text(self, text: str) -> str:
        """Return the text with every address and path as it is on this host."""
        text = self._others.sub(self._other, text)
        text = OWN.sub(self._self, text)
        text = ANYWHERE.sub(LOOPBACK, text)
        for inside, outside in self._paths.items():
            text = re.sub(rf"(?<![\w/.-]){re.escape(inside)}(?![\w.-])", str(outside).replace("\\", r"\\"), text)
        return text

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the variables as the service needs them on this host."""
        return {name: self._variable(name, value) for name, value in variables.items()}

    def _variable(self, name: str, value: str) -> str:
        if name.endswith("PORT") and value.isdigit() and int(value) in self._own:
            return str(self._own[int(value)])
        return self.text(value)

    def _other(self, match: re.Match[str]) -> str:
        real = self._ports[match[1]].get(int(match[2]))
        return match[0] if real is None else f"{LOOPBACK}:{real}"

    def _self(self, match: re.Match[str]) -> str:
        real = self._own.get(int(match[2]))
        return match[0] if real is None else f"{LOOPBACK}{match[1]}{real}"
