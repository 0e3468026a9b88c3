"""Which job this thread is running."""

from contextvars import ContextVar

from workers.errors import ConfigurationError
from workers.job import Job

_current: ContextVar[Job | None] = ContextVar("dutiful_job", default=None)


def current_job() -> Job:
    """The job that is running here.

    Raises:
      ConfigurationError: nothing is: the function was called directly.
    """
    job = _current.get()
    if job is None:
        raise ConfigurationError(
            "no job is running here", expected="a call from inside a job", received="a direct call of the function"
        )
    return job


def running_job() -> Job | None:
    """The job that is running here, or None."""
    return _current.get()


def enter(job: Job | None) -> None:
    """Make it this thread's job; None when it has ended."""
    _current.set(job)
