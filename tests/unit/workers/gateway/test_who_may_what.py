"""Who may do what: each cell of the table is a test."""

import time

import pytest
from sqlalchemy import event

from workers.gateway import door
from workers.gateway.door import Door
from workers.gateway.problems import Refusal
from workers.store import tokens
from workers.store.engine import begin

WHO = ("nobody", "stranger", "revoked", "shop", "everybody")
ORDER = ("POST", "/v1/jobs/desk.order", {"arguments": {"number": 7, "lines": []}})
MAIL = ("POST", "/v1/jobs/desk.mail", {"arguments": {"address": "a", "day": 3}})
#                                        nobody stranger revoked shop everybody
TABLE = {
    "send a job of its own": (ORDER, (401, 401, 401, 202, 202)),
    "send another's job": (MAIL, (401, 401, 401, 403, 202)),
    "send an unknown job": (("POST", "/v1/jobs/desk.nothing", {}), (401, 401, 401, 403, 404)),
    "ask after a job": (("GET", "/v1/jobs/some-id", None), (401, 401, 401, 200, 200)),
    "ask after a job of its own": (("GET", "/v1/jobs/some-id?actor=desk.order", None), (401, 401, 401, 200, 200)),
    "ask after another's job": (("GET", "/v1/jobs/some-id?actor=desk.mail", None), (401, 401, 401, 403, 200)),
    "list actors": (("GET", "/v1/actors", None), (401, 401, 401, 200, 200)),
    "read contracts": (("GET", "/v1/contracts", None), (401, 401, 401, 200, 200)),
    "read the description": (("GET", "/openapi.json", None), (401, 401, 401, 200, 200)),
    "ask for health": (("GET", "/health", None), (200, 200, 200, 200, 200)),
    "ask for metrics": (("GET", "/metrics", None), (200, 200, 200, 200, 200)),
}
CELLS = [
    pytest.param(who, *request, status, id=f"{who} may {what}: {status}")
    for what, (request, statuses) in TABLE.items()
    for who, status in zip(WHO, statuses, strict=True)
]


@pytest.fixture
def who_has(jobs, gateway, add_token):
    """What each of them says of itself."""
    known = {"shop": add_token("shop", "desk.order"), "everybody": add_token("everybody", tokens.EVERY)}
    known["revoked"] = add_token("revoked", tokens.EVERY)
    with begin(jobs.store) as connection:
        tokens.revoke(connection, "revoked", reason="it was in a log")
    gateway.door.look()
    known["stranger"] = known["shop"][:-1] + ("a" if known["shop"][-1] != "a" else "b")
    return {name: {"Authorization": f"Bearer {token}"} for name, token in known.items()} | {"nobody": {}}


@pytest.mark.parametrize(("who", "method", "path", "sent", "status"), CELLS)
def test_who_may_what(app, jobs, who_has, who, method, path, sent, status):  # noqa: PLR0917  a cell has its place
    answer = app.request(method, path, json=sent, headers=who_has[who])

    assert answer.status_code == status, answer.text
    assert len(jobs.published) == (status == 202)
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(("who", "seen"), [("shop", {"desk.order"}), ("everybody", {"desk.order", "desk.mail"})])
def test_a_token_sees_its_own_actors_only(app, who_has, who, seen):
    listed = {each["actor"] for each in app.get("/v1/actors", headers=who_has[who]).json()["actors"]}
    contracts = app.get("/v1/contracts", headers=who_has[who]).json()["contracts"].keys()
    paths = app.get("/openapi.json", headers=who_has[who]).json()["paths"].keys()

    for found in (listed, contracts, {path.removeprefix("/v1/jobs/") for path in paths}):
        assert seen <= found
        assert ("desk.mail" in found) == ("desk.mail" in seen)


def test_nobody_is_told_of_the_job_of_another_s_actor(app, who_has):
    named = {"Idempotency-Key": "k"}
    method, path, sent = MAIL
    sent_by = app.request(method, path, json=sent, headers=who_has["everybody"] | named).json()

    asked = [app.get(f"/v1/jobs/{sent_by['id']}", headers=who_has[who]).json() for who in ("everybody", "shop")]

    assert [(each["state"], each["key"]) for each in asked] == [("waiting", "a:3"), ("unknown", None)]


@pytest.mark.parametrize("said", ["Basic abc", "Bearer", "bearer  ", "Bearer \udcff", "dutiful_a_b"])
def test_what_is_no_bearer_token_is_nobody_s(gateway, add_token, said):
    add_token("shop", tokens.EVERY)

    with pytest.raises(Refusal, match="token"):
        gateway.door.admit(said)


def test_the_scheme_may_be_written_in_any_case(gateway, add_token):
    assert gateway.door.admit(f"bEARER {add_token('shop', 'a')}").name == "shop"


def test_ten_thousand_wrong_tokens_ask_the_store_nothing(jobs, gateway, add_token):
    right = f"Bearer {add_token('shop', 'a')}"
    asked = []
    event.listen(jobs.store, "before_cursor_execute", lambda *_: asked.append(1))
    began = time.monotonic()

    for number in range(10_000):
        with pytest.raises(Refusal):
            gateway.door.admit(f"Bearer dutiful_{number:012x}_{number}")

    assert gateway.door.admit(right).name == "shop"
    assert not asked
    assert time.monotonic() - began < 5, "half a millisecond each, at most"


def test_tokens_that_could_not_be_looked_up_for_a_minute_are_not_relied_on(jobs, add_token, monkeypatch):
    token = add_token("shop", "a")
    old = Door(jobs.store)
    old.look()
    monkeypatch.setattr(door, "STALE_SECONDS", -1.0)

    with pytest.raises(Refusal) as caught:
        old.admit(f"Bearer {token}")

    assert caught.value.kind == "unavailable"
