"""The app routes requests: who asks, for what, and which answer follows."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import dramatiq
from fastapi import FastAPI, Request, Response
from prometheus_client import generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from workers.declaration import Actor
from workers.errors import DutifulError
from workers.gateway import lookup, metrics, openapi
from workers.gateway.acceptance import Acceptance, Asked
from workers.gateway.body import idempotency_key, read
from workers.gateway.door import Door
from workers.gateway.frame import Frame, facts
from workers.gateway.hands import Hands
from workers.gateway.lookout import Lookout
from workers.gateway.problems import Refusal, answer, kind_of, problem
from workers.job_broker import JobBroker
from workers.logs import Lines
from workers.rabbitmq import DutifulBroker
from workers.schemas import schemas
from workers.store.tokens import Token

_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_KINDS: Final = {404: "not_found", 405: "method"}


class Gateway:
    """What the routes share.

    Parameters:
      broker: its actors are those that can be asked for.
      threads: how many requests publish at the same time.
      max_body_bytes: a larger body is refused.
    """

    def __init__(self, broker: JobBroker, *, threads: int, max_body_bytes: int) -> None:
        self.broker = broker
        self.max_body_bytes = max_body_bytes
        self.door = Door(broker.store)
        self.lookout = Lookout(broker, self.door)
        self.acceptance = Acceptance(broker)
        self.hands = Hands(threads)

    def close(self) -> None:
        """End what is in hand, and the connection."""
        self.lookout.stop()
        self.hands.close()
        if isinstance(self.broker, DutifulBroker):
            self.broker.close()

    def token(self, request: Request) -> Token:
        """Whose token a request has; the log says it.

        Raises:
          Refusal: nobody's.
        """
        token = self.door.admit(request.headers.get("authorization"))
        facts(request.scope).fields["token"] = token.name
        return token

    def actors(self, token: Token) -> list[dramatiq.Actor[..., Any]]:
        """The actors that a token is good for, by name."""
        return [actor for name, actor in sorted(self.broker.actors.items()) if token.allows(name)]

    def actor(self, token: Token, name: str) -> dramatiq.Actor[..., Any]:
        """One of them.

        Raises:
          Refusal: it is none of the token's, or there is no such actor.
        """
        if not token.allows(name):
            raise Refusal(
                "forbidden", "the token is not for this actor", expected="one of GET /v1/actors", received=name[:255]
            )
        if name not in self.broker.actors:
            raise Refusal("not_found", "there is no such actor", expected="one of GET /v1/actors", received=name[:255])
        return self.broker.actors[name]


def build(gateway: Gateway, lines: Lines | None = None) -> FastAPI:
    """The application; `lines` as Frame takes them."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(gateway.lookout.begin)
        yield
        await run_in_threadpool(gateway.close)
        if lines is not None:
            lines.write_waiting()

    app = FastAPI(
        lifespan=life,
        middleware=[Middleware(Frame, lines=lines)],
        openapi_url=None,  # ours knows each contract; see below
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(DutifulError, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    _jobs(app, gateway)
    _about(app, gateway)
    _signals(app, gateway)
    return app


def _jobs(app: FastAPI, gateway: Gateway) -> None:
    async def send(request: Request) -> Response:
        about, actor = facts(request.scope), request.path_params["actor"]
        about.route = "/v1/jobs/{actor}"
        token = gateway.token(request)
        declared = gateway.actor(token, actor)
        about.fields["actor"] = actor
        key = idempotency_key(request.headers.getlist("idempotency-key"))
        trace = request.headers.get("traceparent", "")
        asked = Asked(
            token=token.id,
            actor=declared,
            body=await read(request, gateway.max_body_bytes),
            idempotency_key=key,
            traceparent=trace if _TRACEPARENT.fullmatch(trace) else None,
        )
        done = await gateway.hands.do(lambda: gateway.acceptance.accept(asked))
        about.fields |= {"message_id": done.said["id"], "replayed": done.replayed}
        if done.replayed:
            metrics.replays.inc()
        extra = {"Location": done.location} | ({"Idempotent-Replayed": "true"} if done.replayed else {})
        return answer(HTTPStatus.ACCEPTED, done.said, extra)

    app.add_route("/v1/jobs/{actor}", send, methods=["POST"])  # without the framework's look at its parameters

    @app.get("/v1/jobs/{message_id}")
    async def show(message_id: str, request: Request) -> Response:
        facts(request.scope).route = "/v1/jobs/{id}"
        token = gateway.token(request)
        name, key = request.query_params.get("actor"), request.query_params.get("key")
        actors = gateway.actors(token) if name is None else [gateway.actor(token, name)]
        found = await run_in_threadpool(lookup.find, gateway.broker.store, actors, message_id, key)
        return answer(HTTPStatus.OK, found.document())


def _about(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/actors")
    async def actors(request: Request) -> Response:
        facts(request.scope).route = "/v1/actors"
        found = gateway.actors(gateway.token(request))
        return answer(HTTPStatus.OK, {"actors": [_card(actor) for actor in found]})

    @app.get("/v1/contracts")
    async def contracts(request: Request) -> Response:
        facts(request.scope).route = "/v1/contracts"
        names = {actor.actor_name for actor in gateway.actors(gateway.token(request))}
        made = await run_in_threadpool(schemas, gateway.broker)
        return answer(HTTPStatus.OK, {"contracts": {name: each for name, each in made.items() if name in names}})

    @app.get("/openapi.json")
    async def description(request: Request) -> Response:
        facts(request.scope).route = "/openapi.json"
        found = gateway.actors(gateway.token(request))
        return answer(HTTPStatus.OK, await run_in_threadpool(openapi.document, found))


def _signals(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/health")
    @app.get("/health/progress")
    async def health(request: Request) -> Response:
        facts(request.scope).route = "/health"
        found = gateway.lookout.problems()
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        return answer(status, {"ok": not found} | ({"reasons": found} if found else {}))

    @app.get("/health/live")
    async def live(request: Request) -> Response:
        facts(request.scope).route = "/health/live"
        return answer(HTTPStatus.OK, {"ok": True})

    @app.get("/metrics")
    async def exposed(request: Request) -> Response:
        facts(request.scope).route = "/metrics"
        text = await run_in_threadpool(generate_latest, metrics.registry)
        return Response(text, media_type="text/plain; version=0.0.4")


def _card(actor: dramatiq.Actor[..., Any]) -> dict[str, Any]:
    card = actor.card if isinstance(actor, Actor) else None
    return {
        "actor": actor.actor_name,
        "queue": actor.queue_name,
        "owner": card and card.owner,
        "expects": card and card.expects,
        "rollback": card and card.rollback,
    }


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, DutifulError)  # noqa: S101  it is the handler of these
    about = facts(request.scope)
    about.fields["problem"] = kind_of(error)
    if about.fields["problem"] == "unavailable":
        about.fields["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return problem(error)


async def _not_routed(request: Request, error: Exception) -> Response:  # noqa: ARG001  the framework calls it so
    assert isinstance(error, HTTPException)  # noqa: S101  it is the handler of these
    return problem(
        Refusal(
            _KINDS.get(error.status_code, "malformed"),
            "there is nothing here",
            expected="a path and a method of GET /openapi.json",
            received=HTTPStatus(error.status_code).phrase,
            headers=error.headers,
        )
    )
