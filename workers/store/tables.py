"""The tables say what the store remembers; `migrations/` creates them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, LargeBinary, MetaData, Table, Text, func
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware going in, UTC coming out. SQLite has no time zones, so it is told none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """A naive time is refused: nobody knows which one it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time in the store has a time zone; {value} has none")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """What SQLite kept is UTC."""
        if value is None:
            return None
        time: datetime = value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)
        return time


metadata = MetaData()

keys = Table(
    "dutiful_keys",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("state", Text, nullable=False),  # waiting, running, done, dead, discarded, canceled
    Column("arguments_hash", Text),  # null: the row was written by an ending whose claim had been lost
    Column("message_id", Text),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("holder", Text),  # the process that runs it; null unless running
    Column("fence", Integer, nullable=False),  # grows by one each time the job starts
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("checkpoint", Text),  # JSON: where the next attempt goes on; null: from the start
    Index("dutiful_keys_state", "state", "updated_at"),
)

holders = Table(
    "dutiful_holders",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started", Text, nullable=False),  # pids are used again; a pid with another start is another process
    Column("beat_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("stopping", Boolean),  # true: asked to stop; what it leaves open did not kill it
)

outbox = Table(
    "dutiful_outbox",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("actor", Text, nullable=False),  # actor and key of the job that sends it
    Column("key", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("delay_ms", BigInteger),  # null: at once
    Column("created_at", UtcDateTime, nullable=False),
    Index("dutiful_outbox_parent", "actor", "key", "position"),
)

groups = Table(
    "dutiful_groups",
    metadata,
    Column("id", Text, primary_key=True),
    Column("expected", Integer, nullable=False),  # how many members it has, so far
    Column("counted", Integer, nullable=False),  # how many of them have succeeded
    Column("open", Boolean, nullable=False),  # more members may come
    Column("callbacks", Text, nullable=False),  # JSON: what is sent when all have succeeded
    Column("created_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
)

group_members = Table(  # those that have succeeded, until their group is complete
    "dutiful_group_members",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("member_id", Text, primary_key=True),
)

# Other services write here with a plain INSERT, perhaps in a database of their own: docs/outbox.md.
publisher_outbox = Table(
    "dutiful_publisher_outbox",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("body", Text, nullable=False),  # the whole message, JSON
    Column("headers", Text),  # a JSON object; null: none
    Column("delay_ms", BigInteger),  # counted from created_at; null: at once
    Column("created_at", UtcDateTime, nullable=False, server_default=func.now()),
    Column("claimed_until", UtcDateTime),  # until then, it is one relay's
    Column("error", Text),  # why it can never be published; null: it can
    Index("dutiful_publisher_outbox_waiting", "error", "created_at"),
)

turns = Table(
    "dutiful_turns",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

ticks = Table(
    "dutiful_ticks",
    metadata,
    Column("schedule", Text, primary_key=True),
    Column("due_at", UtcDateTime, primary_key=True),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("published_at", UtcDateTime),
    Column("message_id", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="scheduled"),  # scheduled, manual, backfill
    Column("actor", Text),  # with the key, the job; null until published
    Column("key", Text),  # null: an older release recorded it
    Column("started_at", UtcDateTime),  # copied, like the next two, from the job's key, which is purged sooner
    Column("ended_at", UtcDateTime),
    Column("outcome", Text),  # succeeded, dead, discarded, canceled, unknown; of one that was skipped, why
    Index("dutiful_ticks_open", "ended_at", "schedule"),
)

schedules = Table(
    "dutiful_schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", Text, nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
)

pauses = Table(
    "dutiful_pauses",
    metadata,
    Column("kind", Text, primary_key=True),  # actor, queue, schedule
    Column("name", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),  # null: until somebody resumes it; in the past: it has ended
)

audit = Table(
    "dutiful_audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text),  # actor and key of the job it was done to; null: it was done to the store
    Column("key", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("dutiful_audit_target", "actor", "key"),
)

# Who may ask the gateway, and for which jobs. The token itself is kept nowhere.
tokens = Table(
    "dutiful_tokens",
    metadata,
    Column("id", Text, primary_key=True),  # a part of the token that is no secret
    Column("name", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False),  # SHA-256 of the part that is
    Column("actors", Text, nullable=False),  # a JSON list of names; "*": every one
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

# What came to the gateway with an Idempotency-Key, so that the same request gets the same answer.
requests = Table(
    "dutiful_requests",
    metadata,
    Column("token", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),  # alike for the same actor and the same body
    Column("message_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("key", Text),  # the job's; null: no record is kept of it
    Column("created_at", UtcDateTime, nullable=False),
    Column("claimed_until", UtcDateTime, nullable=False),  # by then it is answered, or its gateway is gone
    Column("answer", Text),  # JSON; null: RabbitMQ has not confirmed the message
    Index("dutiful_requests_message", "message_id"),
    Index("dutiful_requests_created", "created_at"),
)

schema_minimums = Table(
    "dutiful_schema_minimums",
    metadata,
    Column("name", Text, primary_key=True),  # of a set of migrations
    Column("revision", Text, nullable=False),  # a release must know it to work with those tables
)

identity = Table(
    "dutiful_store",
    metadata,
    Column("id", Text, primary_key=True),  # one row: what a vhost knows this store by
    Column("made_at", UtcDateTime, nullable=False),
)
