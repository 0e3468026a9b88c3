"""The tables of docs/outbox.md's shop; a parcel may be there twice, so that a test can see it."""

from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Table, Text

metadata = MetaData()
orders = Table(
    "shop_orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item", Text, CheckConstraint("item != ''")),
)
parcels = Table("shop_parcels", metadata, Column("id", Integer, primary_key=True), Column("order_id", Integer))
