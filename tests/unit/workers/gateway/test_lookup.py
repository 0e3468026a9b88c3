"""What became of a job, as far as the store knows, and what the gateway says of itself."""

from unittest.mock import patch

import pytest

from workers import jobs as orders
from workers.errors import StoreUnavailable
from workers.gateway.problems import Refusal
from workers.store.engine import begin
from workers.store.holders import Holder
from workers.store.keys import Request, claim

ORDER = {"arguments": {"number": 7, "lines": []}}
NAMED = {"Idempotency-Key": "k"}


def ask(client, answer):
    """What is said of the job that an answer is about."""
    found = client.get(answer.headers["location"])
    assert found.status_code == 200, found.text
    return found.json()


def test_a_job_that_is_done_says_so_and_since_when(shop, jobs):
    answer = shop.post("/v1/jobs/desk.order", json=ORDER)
    jobs.run()

    found = ask(shop, answer)

    assert (found["state"], found["actor"], found["key"], found["attempt"]) == ("done", "desk.order", found["id"], 1)
    assert found["since"].startswith(f"{jobs.clock.time:%Y-%m-%d}")
    assert shop.get(f"/v1/jobs/{found['id']}").json() == found


def test_a_job_with_a_key_of_its_own_is_found_as_its_location_says(shop, jobs):
    answer = shop.post("/v1/jobs/desk.mail", json={"arguments": {"address": "a/b c", "day": 3}})
    jobs.run()

    assert ask(shop, answer)["state"] == "done"
    assert shop.get(f"/v1/jobs/{answer.json()['id']}").json()["state"] == "unknown"
    assert shop.get(f"/v1/jobs/{answer.json()['id']}?key=a/b c:3").json()["state"] == "done"


def test_a_job_that_came_with_an_idempotency_key_is_found_by_its_id(shop, jobs):
    answer = shop.post("/v1/jobs/desk.mail", json={"arguments": {"address": "a", "day": 3}}, headers=NAMED)
    path = f"/v1/jobs/{answer.json()['id']}"

    assert shop.get(path).json()["state"] == "waiting"
    jobs.run()
    assert shop.get(path).json()["state"] == "done"


@pytest.mark.parametrize(("permanently", "state"), [(True, "dead"), (False, "waiting")])
def test_a_job_that_failed_is_dead_or_waits_for_its_next_attempt(shop, jobs, permanently, state):
    answer = shop.post("/v1/jobs/desk.fail", json={"arguments": {"permanently": permanently}})
    jobs.run()

    assert ask(shop, answer)["state"] == state


def test_a_job_that_a_person_has_canceled_says_so(shop, jobs):
    answer = shop.post("/v1/jobs/desk.order", json=ORDER)
    orders.cancel(jobs.store, "desk.order", answer.json()["id"], reason="wrong", who="me")

    assert ask(shop, answer)["state"] == "canceled"


def test_a_job_that_runs_says_whether_its_process_is_there(shop, jobs):
    answer = shop.post("/v1/jobs/desk.order", json=ORDER)
    identity = answer.json()["id"]
    holder = Holder.register(jobs.store)
    with begin(jobs.store) as connection:
        claim(connection, Request("desk.order", identity, identity, "hash", 1, 0), holder=holder.id)

    assert ask(shop, answer)["meaning"] == "it has begun, and has not ended"
    holder.release()
    assert "a process that is gone" in ask(shop, answer)["meaning"]


@pytest.mark.parametrize(
    ("path", "sent", "named", "said"),
    [
        (
            "desk.order",
            ORDER,
            {},
            "it waits for its first attempt, or its record is gone",
        ),
        ("desk.ping", {}, {}, "no record is kept"),
        ("desk.ping", {}, NAMED, "no record is kept"),
    ],
)
def test_what_the_store_can_not_know_is_unknown_and_says_why(shop, path, sent, named, said):
    found = ask(shop, shop.post(f"/v1/jobs/{path}", json=sent, headers=named))

    assert (found["state"], found["attempt"]) == ("unknown", 0)
    assert said in found["meaning"]


def test_an_id_that_no_job_can_have_is_refused(shop):
    assert shop.get("/v1/jobs/" + "x" * 256).status_code == 422
    assert shop.get("/v1/jobs/a%00b").status_code == 422
    assert shop.get("/v1/jobs/x?key=a%00b&actor=desk.order").status_code == 422


def test_the_gateway_is_well_and_its_metrics_are_its_own(shop, gateway):
    assert (shop.get("/health").json(), shop.get("/health/live").json()) == ({"ok": True}, {"ok": True})
    shop.post("/v1/jobs/desk.order", json=ORDER)
    shop.post("/v1/jobs/desk.order", json={})

    said = shop.get("/metrics").text

    assert 'dutiful_gateway_requests_total{route="/v1/jobs/{actor}",status="202"}' in said
    assert 'dutiful_gateway_requests_total{route="/v1/jobs/{actor}",status="422"}' in said
    assert 'dutiful_jobs_enqueued_total{actor="desk.order",queue="desk"}' in said
    assert "dutiful_gateway_ready 1.0" in said
    assert "dutiful_store_up" not in said, "a worker's, which would be 0 here"


def test_a_store_that_is_away_makes_it_unwell_until_it_is_back(shop, gateway):
    with patch.object(gateway.door, "look", side_effect=StoreUnavailable("gone", received="10.0.0.8")):
        gateway.lookout.look()
        answer = shop.get("/health")

    assert (answer.status_code, answer.json()) == (503, {"ok": False, "reasons": ["the store can't be used"]})
    gateway.lookout.look()
    assert shop.get("/health").status_code == 200


def test_nobody_is_let_in_by_a_store_that_may_be_another_s(gateway, jobs):
    with patch("workers.gateway.lookout.make_ready", side_effect=StoreUnavailable("gone")):
        gateway.lookout.look()
        with pytest.raises(Refusal, match="tokens can't be looked up"):
            gateway.door.admit("Bearer x")
    assert gateway.lookout.problems() == ["the gateway is not set up"]

    gateway.lookout.look()

    assert not gateway.lookout.problems()
    with pytest.raises(Refusal, match="not known"):
        gateway.door.admit("Bearer x")


def test_the_description_has_a_path_with_an_example_for_each_actor(shop, gateway):
    document = shop.get("/openapi.json").json()

    for name, actor in gateway.broker.actors.items():
        post = document["paths"][f"/v1/jobs/{name}"]["post"]
        content = post["requestBody"]["content"]["application/json"]
        if hasattr(actor, "contract"):
            actor.contract.check((), content["example"]["arguments"])
    lines = document["paths"]["/v1/jobs/desk.order"]["post"]["requestBody"]["content"]["application/json"]
    assert lines["example"] == {"arguments": {"number": 1, "lines": [{"item": "text", "count": 1}]}}
    assert "key" not in str(document["paths"]["/v1/jobs/desk.ping"]["post"]["requestBody"])


def test_each_example_of_the_description_is_accepted(shop, jobs):
    document = shop.get("/openapi.json").json()
    posts = {path: each["post"] for path, each in document["paths"].items() if "post" in each}

    for path, post in posts.items():
        example = post["requestBody"]["content"]["application/json"].get("example", {"arguments": {}})
        assert shop.post(path, json=example).status_code == 202, path

    assert len(jobs.published) == len(posts)
