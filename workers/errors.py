"""The tree of everything that dutiful raises.

    DutifulError                 catch it to catch all of ours
    ├── ConfigurationError       a setting, a declaration or a broker that can't work; found at start
    │   └── AnotherStore         the vhost belongs to another store than this process has
    ├── ContractError            a message that isn't what its actor takes; never retried
    │   └── KeyConflict          its key belongs to a job with other arguments
    ├── PermanentFailure         raised by a job: trying again can't help → dead letter
    ├── RetryLater               raised by a job: trying again helps, after a known delay
    ├── Crashed                  the process that ran a job died of it
    ├── Expired                  a job that comes too late to be of use
    ├── Deferred                 put back without spending an attempt
    │   ├── HookFailed           a middleware failed before the job ran, so nothing ran
    │   └── KeyInHand            another job of this process has the key
    ├── PublishError             a message that was not, or perhaps not, taken by the broker
    │   ├── BrokerUnreachable    there is no connection; nothing was sent
    │   ├── BrokerBlocked        the broker takes no messages now; nothing was sent
    │   ├── QueueMissing         returned: no such queue
    │   ├── PublishRefused       the broker said no
    │   └── PublishUnconfirmed   no answer: it may have been taken
    ├── QueueHeld                somebody else is looking at the dead letters of a queue
    └── StoreError               the store did not do what it was asked
        ├── StoreUnavailable     it can't be reached, or took too long
        └── ClaimLost            another process has taken this job over

Every one of them says the same four things: what failed, what was expected, what was received, and whether trying again
is safe. `str(error)` joins them into one line.
"""

from datetime import timedelta


class DutifulError(Exception):
    """Something that dutiful refuses or failed to do.

    Parameters:
      what: what failed, in a few words.
      expected: what would have been right.
      received: what was there instead; never a secret.
      safe_to_retry: whether doing the same again can harm. None: the class decides.
    """

    safe_to_retry = False

    def __init__(self, what: str, *, expected: str = "", received: str = "", safe_to_retry: bool | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.received = received
        if safe_to_retry is not None:
            self.safe_to_retry = safe_to_retry

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.received:
            parts.append(f"received {self.received}")
        parts.append(f"safe to try again: {'yes' if self.safe_to_retry else 'no'}")
        return "; ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        return (rebuilt, (type(self), self.args, self.__dict__))


def rebuilt(kind: type[BaseException], args: tuple[object, ...], state: dict[str, object]) -> BaseException:
    """An error as it was in another process: its class may take other arguments than these."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(DutifulError):
    """A setting, a declaration or a broker that can't work as it is. Mend it, then start again."""


class AnotherStore(ConfigurationError):
    """The vhost belongs to another store: keys that are kept in two stores protect nothing.

    Parameters:
      owner: the store that it belongs to.
    """

    def __init__(self, what: str, *, owner: str = "", expected: str = "", received: str = "") -> None:
        super().__init__(what, expected=expected, received=received)
        self.owner = owner


class ContractError(DutifulError):
    """A message that isn't what its actor takes. The same message fails again."""


class KeyConflict(ContractError):
    """The same key came with other arguments. One of the two is a mistake of the publisher."""


class PermanentFailure(DutifulError):
    """Raise it in a job when trying again can't help. The job becomes a dead letter at once."""


class RetryLater(DutifulError):
    """Raise it in a job when trying again helps, after a delay that you know.

    Parameters:
      what: what failed.
      delay: how long to wait.
    """

    safe_to_retry = True

    def __init__(self, what: str, *, delay: timedelta, expected: str = "", received: str = "") -> None:
        super().__init__(what, expected=expected, received=received)
        self.delay = delay


class Crashed(DutifulError):
    """The process that ran a job died of it: a segmentation fault, `os._exit`, no memory.

    Attributes:
      is_final: it has happened too often to try again.
    """

    safe_to_retry = True
    is_final = False


class Expired(DutifulError):
    """A job that comes too late to be of use: more than `expires_in` after it was sent."""


class Deferred(DutifulError):
    """The job can't run now through no fault of its own: it is put back and no attempt is spent."""

    safe_to_retry = True

    def __init__(self, what: str, *, why: str, delay: timedelta, expected: str = "", received: str = "") -> None:
        super().__init__(what, expected=expected, received=received)
        self.why = why
        self.delay = delay


class HookFailed(Deferred):
    """A middleware raised an error that nobody foresaw before the job ran: nothing ran."""


class KeyInHand(Deferred):
    """Another job of this process has the key, and has not ended."""


class PublishError(DutifulError):
    """A message that was not taken, or perhaps not taken, by the broker.

    Attributes:
      message: the message, to be sent again as it is; None where it was no job of ours.
    """

    safe_to_retry = True
    message: object | None = None


class BrokerUnreachable(PublishError):
    """There is no connection to the broker; nothing was sent."""


class BrokerBlocked(PublishError):
    """The broker has a memory or disk alarm and takes no messages; nothing was sent."""


class QueueMissing(PublishError):
    """The broker returned the message: there is no such queue. Start a worker, or `dutiful queues declare`."""


class PublishRefused(PublishError):
    """The broker answered that it did not take the message."""


class PublishUnconfirmed(PublishError):
    """The broker did not answer. Publishing the same message again can't double a job that has a key."""


class QueueHeld(DutifulError):
    """Somebody else is looking at the dead letters of a queue. Wait until they have ended."""

    safe_to_retry = True


class StoreError(DutifulError):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):
    """The store can't be reached, or took too long."""

    safe_to_retry = True


class ClaimLost(StoreError):
    """Another process has taken this job over while it ran here: what it did here must not be committed."""
