"""The store is asked here whether it has its tables, and whether it is the one that the vhost belongs to."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from pika import exceptions as amqp
from sqlalchemy import Engine

from workers.doctor.line import Line, ok, refused, unknown, wrong
from workers.doctor.rights import grant
from workers.errors import AnotherStore, ConfigurationError, StoreUnavailable
from workers.queues import NOT_FOUND, ask
from workers.rabbitmq import DutifulBroker
from workers.store.identity import identity_of
from workers.store.migrate import OURS, Status, status
from workers.transport import topology
from workers.transport.refusal import hopeless

_MIGRATE: Final = "dutiful store migrate"


def schema(engine: Engine, packages: Iterable[str]) -> tuple[list[Line], str | None]:
    """Whether the store answers and its tables are what this release needs.

    Parameters:
      packages: those of jobs, whose own migrations count too.

    Returns:
      the lines, and the store's identity, where it has one.
    """
    try:
        found = {each.name: each for package in (None, *sorted(packages)) for each in status(engine, package)}
        lines = [line for each in found.values() for line in _schema(each)]
        known = ", ".join(f"{name} at {each.current}" for name, each in found.items())
        return lines or ok("store schema", known), None if lines else identity_of(engine)
    except StoreUnavailable as error:
        return [refused("store schema", error, mend=open_again(error))], None
    except ConfigurationError as error:  # its tables are there, and the row that `migrate` once made is not
        return [refused("store schema", error, mend="# restore the store from a backup: docs/running.md")], None


def open_again(error: StoreUnavailable) -> str:
    """What lets a store answer that did not."""
    if "certificate" in error.what:
        return "export DUTIFUL_STORE__CA_PATH=/PATH/TO/ca.pem # or give the store a new certificate"
    return "# start the store, or correct DUTIFUL_STORE__URL"


def _schema(each: Status) -> list[Line]:
    if each.needs is not None:
        return [
            wrong(
                "store schema",
                f"this release is too old for the tables of {each.name}",
                expected=f"a release that knows revision {each.needs}",
                received=f"one that knows {each.head}",
                mend="# deploy a newer release",
            )
        ]
    if not each.is_behind:
        return []
    return [
        wrong(
            "store schema",
            f"the tables of {each.name} are behind",
            expected=f"revision {each.head}",
            received=each.current or "no tables",
            mend=_MIGRATE if each.name == OURS else f"{_MIGRATE} {each.name}",
        )
    ]


def identity(broker: DutifulBroker, ours: str | None, mend: str = _MIGRATE) -> list[Line]:
    """Whether the vhost belongs to this store, or still to none.

    Parameters:
      ours: the store's identity, where it has one.
      mend: what gives it one.

    Raises:
      BrokerUnreachable: there is no connection.
    """
    check = "store identity"
    if ours is None:
        return unknown(check, "a store that isn't ready has none", mend=mend)
    try:
        ask(broker, partial(_declare_again, ours))
    except amqp.ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return ok(check, f"the vhost belongs to no store yet; {ours} will be it")
        found = hopeless(error)
        if isinstance(found, AnotherStore):
            mend = '# correct the address that is wrong; or, on purpose: dutiful store adopt --reason "WHY"'
            return [refused(check, found, mend=mend)]
        grants = grant(broker, broker.get_declared_queues())
        return unknown(check, f"RabbitMQ refuses: {error.reply_text}", mend=grants)
    return ok(check, f"the vhost belongs to this store, {ours}")


def _declare_again(store_id: str, channel: Any, answer: Callable[[Any], None]) -> None:
    # Passively first: a vhost that belongs to nobody must not be given away here.
    declare = partial(topology.declare_store, channel, store_id, callback=answer)
    channel.exchange_declare(topology.STORE, passive=True, callback=lambda _: declare())
