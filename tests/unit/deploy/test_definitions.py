"""RabbitMQ's definitions: the committed file is that of the jobs, and passwords are drawn, kept and hashed."""

import json
import re
import stat

from deploy.rabbitmq import __main__ as command
from deploy.rabbitmq.definitions import ROLES, definitions, password_hash
from workers.broker import setup_broker


def site_queues():
    command.queues()  # which imports the site's jobs; other tests may have declared theirs beside
    return {each.queue_name for each in setup_broker().actors.values() if each.fn.__module__.startswith("actors.")}


def test_the_committed_file_is_written_from_the_jobs():
    assert command.COMMITTED.read_text() == command.written(definitions(site_queues())), (
        "run: python -m deploy.rabbitmq"
    )


def test_no_password_is_shipped():
    users = json.loads(command.COMMITTED.read_text())["users"]

    assert [user["name"] for user in users] == [f"dutiful-{role}" for role in ROLES]
    assert {user["password_hash"] for user in users} == {""}  # such a user can't log in
    assert not any("administrator" in user["tags"] for user in users)


def test_a_hash_is_the_one_that_rabbitmq_computes():
    # The example of RabbitMQ's own documentation: the salt 908D C60A and the password test12.
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert password_hash("x") != password_hash("x")


def test_passwords_are_drawn_once_and_only_their_owner_may_read_them(tmp_path):
    path = tmp_path / "new" / ".env"
    path.parent.mkdir()
    path.write_text("# mine\nOTHER=1\nRABBITMQ_WORKER_PASSWORD=chosen\nRABBITMQ_METRICS_PASSWORD=\n")

    first = command.passwords(path)
    again = command.passwords(path)

    assert first == again
    assert first["worker"] == "chosen"
    assert all(re.fullmatch(r"[0-9a-f]{48}", first[role]) for role in ROLES if role != "worker")
    assert path.read_text().startswith("# mine\nOTHER=1\nRABBITMQ_WORKER_PASSWORD=chosen\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_policy_for_consumer_timeout_is_only_there_when_asked_for():
    (policy,) = definitions(["a"], vhost="v", consumer_timeout_ms=9)["policies"]

    assert (policy["vhost"], policy["definition"]["consumer-timeout"]) == ("v", 9)
    assert "consumer-timeout" not in definitions(["a"])["policies"][0]["definition"]
