"""The jobs of the conformance samples and of the relay's ledger: each leaves one parcel a run."""

from sqlalchemy import insert
from tables import parcels

from workers import actor, current_job
from workers.broker import setup_broker

setup_broker()
CARD = {"queue_name": "shipping", "owner": "tests", "expects": "one parcel", "rollback": "none"}


@actor(**CARD, key="{order_id}")
def ship(order_id: int, weight: float = 1.0, note: str = "") -> None:
    with current_job().transaction() as connection:
        connection.execute(insert(parcels).values(order_id=order_id))


@actor(**CARD)
def gift(order_id: int) -> None:
    with current_job().transaction() as connection:
        connection.execute(insert(parcels).values(order_id=order_id))
