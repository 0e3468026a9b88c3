"""The front door of the runtime: what the author of a job imports.

Names are loaded when they are first asked for, so that `import workers` costs nothing.

    actor             declares a function as a job
    OpenGroup         jobs that are found little by little, and what is sent when all have succeeded
    current_job       the job that this thread is running
    PermanentFailure  raise it when trying again cannot help
    RetryLater        raise it when trying again helps, and you know when
    obey_retry_after  raises it where a service over HTTP says when
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.current import current_job
    from workers.declaration import actor
    from workers.errors import PermanentFailure, RetryLater
    from workers.groups import OpenGroup
    from workers.retry_after import obey_retry_after

__all__ = ["OpenGroup", "PermanentFailure", "RetryLater", "actor", "current_job", "obey_retry_after"]

_HOMES = {
    "actor": "workers.declaration",
    "current_job": "workers.current",
    "OpenGroup": "workers.groups",
    "PermanentFailure": "workers.errors",
    "RetryLater": "workers.errors",
    "obey_retry_after": "workers.retry_after",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workers' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module  # noqa: PLC0415  only a name that is asked for is loaded

    return getattr(import_module(_HOMES[name]), name)
