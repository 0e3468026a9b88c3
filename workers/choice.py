"""A choice says which dead letters are meant."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from workers.clock import utcnow
from workers.letter import Letter


@dataclass(frozen=True)
class Choice:
    """Which letters. What is None chooses all.

    Attributes:
      queue: a work queue, or dutiful.undeliverable.
      ids: message ids; a letter that is named by its id is replayed however often it has failed.
      older_than, newer_than: since its last failure.
    """

    queue: str | None = None
    ids: frozenset[str] = frozenset()
    actor: str | None = None
    reason: str | None = None
    fingerprint: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    def __call__(self, letter: Letter) -> bool:
        """Whether this letter is chosen."""
        return (
            (not self.ids or letter.id in self.ids)
            and self.actor in {None, letter.actor}
            and self.reason in {None, letter.reason}
            and self.fingerprint in {None, letter.fingerprint}
            and (self._is_of_age(letter.failed_at))
        )

    def _is_of_age(self, failed_at: datetime | None) -> bool:
        if self.older_than is None and self.newer_than is None:
            return True
        if failed_at is None:
            return False
        age = utcnow() - failed_at
        return (self.older_than is None or age >= self.older_than) and (
            self.newer_than is None or age <= self.newer_than
        )

    def __str__(self) -> str:
        said = {**vars(self), "ids": " ".join(sorted(self.ids))}
        return ", ".join(f"{name} {value}" for name, value in said.items() if value) or "all"
