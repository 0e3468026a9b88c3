"""Makes the passwords that docker-compose.yml needs; one that is there is never changed.

python3 -m deploy.setup.passwords      writes .env
"""

# ruff: noqa: T201  it speaks to a person
from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING

from deploy.setup.system import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NEEDED = re.compile(r"\$\{(\w+):\?")
"""How the compose file says that a variable has no default."""
HEAD = """\
# Made by `make env`; .env.example says what else can be in it. Keep it on this host: it is not for git.
COMPOSE_PROFILES=monitoring
"""


def needed(compose_file: Path) -> list[str]:
    """Return the variables without a default, in the order in which they appear."""
    return list(dict.fromkeys(NEEDED.findall(compose_file.read_text(encoding="utf-8"))))


def add(file: Path, names: Iterable[str], known: Mapping[str, str], head: str = "") -> list[str]:
    """Write a password for each name that is not known yet, for the owner's eyes only; return those names."""
    new = [name for name in names if not known.get(name)]
    if not new and (file.exists() or not head):
        return []
    text = file.read_text(encoding="utf-8") if file.exists() else head
    lines = "".join(f"{name}={secrets.token_hex(16)}\n" for name in new)
    draft = file.with_name(f"{file.name}.draft")
    draft.touch(mode=0o600)
    draft.write_text(text + ("" if not text or text.endswith("\n") else "\n") + lines, encoding="utf-8")
    draft.replace(file)
    return new


def known(file: Path) -> dict[str, str]:
    """Return the variables of a .env file; none where there is no file."""
    if not file.is_file():
        return {}
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [line.removeprefix("export ").split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def main() -> None:
    """Complete .env, and say what was added."""
    file = CHECKOUT / ".env"
    added = add(file, needed(CHECKOUT / "docker-compose.yml"), known(file) | os.environ, HEAD)
    if added:
        print(f".env: new passwords for {', '.join(added)}")


if __name__ == "__main__":
    main()
