"""RabbitMQ's definitions: the committed file is that of the jobs, and has no password in it."""

import json

from deploy.rabbitmq import __main__ as command
from workers.broker import setup_broker
from workers.users import ROLES, definitions


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
