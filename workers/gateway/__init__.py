"""The gateway takes jobs over HTTP, for services that speak neither Python nor AMQP.

uvicorn workers.gateway:create_app --factory --port 8000

app          routes: who asks, for what          frame      headers, log line and counts of every answer
door         tokens                              problems   refusals, as RFC 9457 has them
body         size, depth, deadline               openapi    what can be asked for; examples
acceptance   checks, publishes, confirms, once   lookup     what became of a job
lookout      whether RabbitMQ and the store answer
"""

import logging
from importlib import import_module
from importlib.metadata import version

from fastapi import FastAPI

from workers import logs
from workers.broker import setup_broker
from workers.gateway.app import Gateway, build
from workers.metrics import build_info
from workers.settings import settings


def create_app() -> FastAPI:
    """The gateway that the settings describe, as uvicorn starts it.

    Raises:
      ConfigurationError: a setting can't work.
    """
    chosen = settings()
    lines = logs.configure(level=chosen.logs.level, form=chosen.logs.format, environment=chosen.environment)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()  # its lines are ours then, in one format
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").handlers.clear()  # its paths may hold anything
    logging.getLogger("uvicorn.access").propagate = False
    build_info.labels(version("dutiful"), chosen.revision, chosen.environment).set(1)
    import_module(chosen.gateway.package)
    broker = setup_broker()
    gateway = Gateway(broker, threads=chosen.gateway.threads, max_body_bytes=chosen.rabbitmq.max_message_bytes)
    if chosen.logs.format != "json" or not logging.getLogger("dutiful.gateway").isEnabledFor(logging.INFO):
        return build(gateway)
    lines.begin()
    return build(gateway, lines)


__all__ = ["create_app"]
