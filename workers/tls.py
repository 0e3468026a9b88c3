"""TLS always checks the other side's certificate: who signed it, for which host, and until when."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .errors import ConfigurationError

NO_TLS: Final = "no TLS there"


def client_context(ca_path: Path | None) -> ssl.SSLContext:
    """What a client's connection needs.

    Parameters:
      ca_path: the authorities that may sign, in PEM form; None: those that this system trusts.

    Raises:
      ConfigurationError: the file can't be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            "the file of authorities can't be read", expected="certificates in PEM form", received=f"{ca_path}: {error}"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def complaint(error: BaseException | None) -> str | None:
    """What TLS had to say, where an error comes from it; None where it doesn't."""
    for each in _sources(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message.rstrip(".")
        if isinstance(each, ssl.SSLError):
            return NO_TLS if each.reason == "WRONG_VERSION_NUMBER" else str(each.reason or each)
    return None


def _sources(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was made of: libraries wrap them in several ways."""
    left = [error]
    seen: set[int] = set()
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        more = [*each.args, getattr(each, "reason", None), getattr(each, "exception", None), each.__cause__]
        more += getattr(each, "exceptions", ())
        left += [part for part in more if isinstance(part, BaseException)]
