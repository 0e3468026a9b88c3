"""Publishes jobs as any other service does: plain AMQP and a JSON envelope, nothing of ours imported."""

import json
import time
import uuid
from typing import Any

import pika

EXCHANGE = "dutiful.jobs"


class Service:
    """A service that asks for jobs; it returns from `ask` only when the broker has the message on disk."""

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.blocked_connection_timeout = 30
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def ask(self, actor: str, queue: str, arguments: dict[str, Any], message_id: str = "") -> str:
        """Publish one job, confirmed and mandatory; the same message id again is the same job."""
        message_id = message_id or str(uuid.uuid4())
        envelope = {
            "queue_name": queue,
            "actor_name": actor,
            "args": [],
            "kwargs": arguments,
            "options": {},
            "message_id": message_id,
            "message_timestamp": int(time.time() * 1000),
        }
        properties = pika.BasicProperties(
            message_id=message_id,
            type=actor,
            content_type="application/json",
            timestamp=int(time.time()),
            app_id="demo",
            delivery_mode=pika.DeliveryMode.Persistent.value,
        )
        self.channel.basic_publish(EXCHANGE, queue, json.dumps(envelope).encode(), properties, mandatory=True)
        return message_id

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
