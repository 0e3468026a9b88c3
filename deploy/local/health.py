"""Runs a service's health check on this host."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.parse
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.local.images import Launch


async def is_healthy(test: Sequence[str], launch: Launch, limit: float) -> bool:
    """Run a health check as its service would; wget, which images bring and hosts may not, is stood in for."""
    try:
        async with asyncio.timeout(limit):
            if test[0] == "wget":
                return await _answers(test[-1])
            return await _succeeds(test, launch)
    except (TimeoutError, OSError):
        return False


async def _answers(url: str) -> bool:
    """Tell whether a GET of the address is answered with a status in the 200s."""
    address = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port or 80)
    try:
        writer.write(f"GET {address.path or '/'} HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
        status = (await reader.readline()).split()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return len(status) > 1 and status[1].startswith(b"2")


async def _succeeds(test: Sequence[str], launch: Launch) -> bool:
    """Tell whether the command ends with status 0; one that takes too long is killed with all it started."""
    process = await asyncio.create_subprocess_exec(
        *test,
        env=launch.environment,
        cwd=launch.folder if launch.user is None else "/",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return await process.wait() == 0
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
