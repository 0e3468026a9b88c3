"""`dutiful publish` on a real RabbitMQ."""

import json

import pika
import pytest
from processes import ROOT, Queue, until

from tests.commands import dutiful, unset


@pytest.fixture
def publish(environment):
    """publish("content.import_feed", "--arg", "source=x", stdin="…"): how it ended."""

    def run(*words, stdin="", **more):
        told = unset() | environment | {"PYTHONPATH": str(ROOT)} | more
        return dutiful("publish", *words, environment=told, stdin=stdin)

    return run


@pytest.fixture
def content(rabbitmq):
    return Queue(rabbitmq, "content")


def bodies(queue):
    """What waits, which is taken: [(body, headers)]."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(queue.url)) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue.name, auto_ack=True))[0] is not None:
            found.append((json.loads(message[2]), message[1].headers))
    return found


def test_jobs_are_published_one_or_many_now_or_later(publish, content, tmp_path):
    one = publish("content.import_feed", "--arg", "source=a.ndjson", "--arg", "resume:=7", "--key", "a")
    file = tmp_path / "feed.json"
    file.write_text('{"source": "b.ndjson"}')
    later = publish("content.import_feed", "--json", f"@{file}", "--delay", "1s", "--output", "json")
    lines = "".join(f'{{"source": "{n}.ndjson"}}\n' for n in range(300))
    for _ in range(2):
        many = publish("content.import_feed", "--ndjson", "-", "--run", "monday", stdin=lines)

    assert (one.returncode, later.returncode, many.returncode) == (0, 0, 0), one.stderr + later.stderr + many.stderr
    facts = json.loads(later.stdout)
    assert (facts["jobs"], facts["queue"], facts["delay_ms"]) == (1, "content", 1000)
    assert many.stdout == "content.import_feed: 300 published to content\n"
    until(lambda: content.count() == 602)
    found = bodies(content)
    assert found[0][0]["kwargs"] == {"source": "a.ndjson", "resume": 7}
    assert found[0][1]["dutiful-key"] == "a"
    assert found[0][0]["message_id"] in one.stdout
    assert len({body["message_id"] for body, _ in found}) == 302, "the same lines again are the same jobs"
    assert facts["message_id"] in {body["message_id"] for body, _ in found}


def test_a_line_that_is_wrong_is_named_and_those_before_it_are_sent(publish, content):
    lines = '{"source": "a"}\n{"source": "b"}\n{"sauce": "c"}\n{"source": "d"}\n'

    asked = publish("content.import_feed", "--ndjson", "-", "--dry-run", stdin=lines)
    sent = publish("content.import_feed", "--ndjson", "-", "--output", "json", stdin=lines)

    assert (asked.returncode, sent.returncode) == (1, 1)
    assert "dutiful: line 3: content.import_feed can't take these arguments" in asked.stderr
    facts = json.loads(sent.stdout)
    assert facts["jobs"] == 2
    assert "line 3" in facts["problem"]
    until(lambda: content.count() == 2)


def test_a_broker_that_is_away_is_told_with_the_line(publish):
    away = {
        "DUTIFUL_RABBITMQ__URL": "amqp://guest:guest@127.0.0.1:1/x",
        "DUTIFUL_RABBITMQ__PUBLISH_TIMEOUT_SECONDS": "1",
    }

    answer = publish("content.import_feed", "--ndjson", "-", stdin='{"source": "a"}\n', **away)

    assert answer.returncode == 1
    assert "RabbitMQ can't be reached" in answer.stderr
    assert "safe to try again: yes" in answer.stderr
