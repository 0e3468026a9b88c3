"""Groups, pipelines and callbacks: what follows from jobs comes once, whatever is repeated, fails or is replayed."""

from datetime import timedelta

import dramatiq
import pytest
from sqlalchemy import func, select

from workers import OpenGroup, PermanentFailure, actor, current_job
from workers.broker import setup_broker
from workers.errors import ConfigurationError, ContractError, PublishRefused
from workers.store import tables

CARD = {"owner": "tests", "expects": "a word in a list", "rollback": "none"}
setup_broker()
ran = []
broken = set()


@pytest.fixture(autouse=True)
def _fresh():
    ran.clear()
    broken.clear()


@actor(**CARD, actor_name="groups.member", max_retries=1, min_backoff=timedelta(seconds=1))
def member(n: int) -> int:
    if n in broken:
        raise RuntimeError("not yet")
    ran.append(f"member {n}")
    return n


@actor(**CARD, actor_name="groups.keyed", key="{n}")
def keyed(n: int) -> int:
    ran.append(f"keyed {n}")
    return n


@actor(**CARD, actor_name="groups.keyless", key=None)
def keyless(n: int) -> int:
    ran.append(f"keyless {n}")
    return n


@actor(**CARD, actor_name="groups.committed")
def committed(n: int) -> int:
    with current_job().transaction():
        ran.append(f"committed {n}")
        current_job().returns(n * 10)
    return n * 10


@actor(**CARD, actor_name="groups.silent")
def silent(n: int) -> int:
    with current_job().transaction():
        ran.append("silent")
    return n


@actor(**CARD, actor_name="groups.plus_one")
def plus_one(n: int) -> int:
    ran.append(f"plus one {n}")
    return n + 1


@actor(**CARD, actor_name="groups.sum_up")
def sum_up(a: int, b: int = 0) -> int:
    ran.append(f"{a} + {b}")
    return a + b


@actor(**CARD, actor_name="groups.returns_text")
def returns_text() -> str:
    return "no number"


@actor(**CARD, actor_name="groups.after")
def after(word: str = "after") -> None:
    ran.append(word)


@actor(**CARD, actor_name="groups.told")
def told(message: dict, result: object) -> None:
    ran.append(f"told {message['actor_name']} {result}")


@actor(**CARD, actor_name="groups.starter", max_retries=2, min_backoff=timedelta(seconds=1))
def starter(inside: bool) -> None:
    job = current_job()
    if inside:
        with job.transaction():
            start(member.message(n) for n in (1, 2))
            if job.attempt == 1:
                raise RuntimeError("before the commit")
        return
    start(member.message(n) for n in (1, 2))
    if job.attempt == 1:
        raise RuntimeError("after the members were sent")


@actor(**CARD, actor_name="groups.opener", max_retries=3, min_backoff=timedelta(seconds=1))
def opener(size: int) -> None:
    job = current_job()
    group = OpenGroup(f"opened by {job.id}")
    done = job.checkpoint or 0
    if done == 0:
        with job.transaction(checkpoint=0):
            group.open(after.message(word="all"))
    for n in range(done, size):
        with job.transaction(checkpoint=n + 1):
            group.send(member.message(n))
        if n == 1 and job.attempt == 1:
            raise RuntimeError("halfway")
    with job.transaction():
        group.close()


def start(messages, callback=None):
    found = dramatiq.group(messages)
    found.add_completion_callback(callback or after.message())
    return found.run()


def later(jobs):
    jobs.run()
    for _ in range(3):
        jobs.clock.advance(timedelta(minutes=1))
        jobs.run()


def rows(jobs, table):
    with jobs.store.begin() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def open_groups(jobs):
    with jobs.store.begin() as connection:
        columns = tables.groups.c
        query = select(columns.expected, columns.counted).where(columns.completed_at.is_(None))
        return [tuple(row) for row in connection.execute(query)]


def test_the_callback_runs_once_when_all_members_have_succeeded(jobs):
    start(member.message(n) for n in range(3))

    jobs.run()

    assert ran == ["member 0", "member 1", "member 2", "after"]
    assert rows(jobs, tables.outbox) == 0


def test_several_callbacks_all_run(jobs):
    group = dramatiq.group([member.message(1)])
    group.add_completion_callback(after.message(word="first"))
    group.add_completion_callback(after.message(word="second"))
    group.run()

    jobs.run()

    assert sorted(ran) == ["first", "member 1", "second"]


@pytest.mark.parametrize("kind", [member, keyless, committed])
def test_members_that_are_delivered_twice_count_once(jobs, kind):
    start(kind.message(n) for n in (1, 2))
    for message in list(jobs.published):
        jobs.broker.enqueue(message)

    jobs.run()

    assert ran.count("after") == 1
    assert open_groups(jobs) == []


def test_a_group_without_all_of_its_members_stays_open(jobs):
    start(keyless.message(n) for n in (1, 2))
    second = [message for message in jobs.published if message.args or message.kwargs == {"n": 2}][-1]
    queue = jobs.broker.queues[second.queue_name]
    queue.queue.pop()
    queue.unfinished_tasks -= 1

    jobs.run()

    assert "after" not in ran
    assert open_groups(jobs) == [(2, 1)]

    jobs.broker.enqueue(second)
    jobs.run()

    assert ran.count("after") == 1


def test_a_member_whose_job_was_done_before_counts_too(jobs):
    keyed.send(n=1)
    jobs.run()

    start(keyed.message(n) for n in (1, 2))
    jobs.run()

    assert ran == ["keyed 1", "keyed 2", "after"]


def test_two_members_with_one_key_are_one_job_and_both_count(jobs):
    start(keyed.message(1) for _ in range(2))

    jobs.run()

    assert ran == ["keyed 1", "after"]


def test_a_member_that_is_retried_counts_when_it_succeeds(jobs):
    broken.add(1)
    start(member.message(n) for n in (0, 1))
    jobs.run()
    assert ran == ["member 0"]

    broken.clear()
    later(jobs)

    assert ran == ["member 0", "member 1", "after"]


def test_a_dead_letter_keeps_its_group_open_and_its_replay_completes_it(jobs):
    broken.add(1)
    start(member.message(n) for n in (0, 1))
    later(jobs)
    (letter,) = jobs.dead_letters
    assert open_groups(jobs) == [(2, 1)]

    broken.clear()
    jobs.broker.publish(letter["message"].copy(options={"generation": 1, "attempt": 1}))
    jobs.run()

    assert ran[-1] == "after"
    assert open_groups(jobs) == []


def test_a_pipeline_counts_when_its_last_job_has_succeeded(jobs):
    start([member.message(1) | plus_one.message() | plus_one.message(), committed.message(5)])

    jobs.run()

    assert sorted(ran[:-1]) == ["committed 5", "member 1", "plus one 1", "plus one 2"]
    assert ran[-1] == "after"


def test_a_group_started_in_a_transaction_is_registered_with_the_commit(jobs):
    starter.send(inside=True)
    jobs.run()
    assert rows(jobs, tables.groups) == 0
    assert ran == []

    later(jobs)

    assert sorted(ran) == ["after", "member 1", "member 2"]
    assert open_groups(jobs) == []


def test_a_group_started_again_by_another_attempt_ends_once(jobs):
    starter.send(inside=False)

    later(jobs)

    assert sorted(ran) == ["after", "member 1", "member 2"]


def test_a_publisher_that_fails_between_the_members_leaves_a_group_that_never_ends(jobs, monkeypatch):
    send, taken = jobs.broker.send_to_queue, []

    def refuse(message, delay):
        if taken:
            raise PublishRefused("no more")
        taken.append(message)
        send(message, delay)

    messages = [member.message(n) for n in (1, 2)]
    with monkeypatch.context() as patched:
        patched.setattr(jobs.broker, "send_to_queue", refuse)
        with pytest.raises(PublishRefused):
            start(messages)
    jobs.run()
    assert (ran, open_groups(jobs)) == (["member 1"], [(2, 1)])

    start(messages)
    jobs.run()

    assert ran == ["member 1", "member 2", "after"]


@pytest.mark.parametrize("first", [member, keyless, committed])
def test_a_pipeline_hands_each_result_on(jobs, first):
    (first.message(3) | plus_one.message() | plus_one.message()).run()

    jobs.run()

    seed = 30 if first is committed else 3
    assert ran[1:] == [f"plus one {seed}", f"plus one {seed + 1}"]
    assert rows(jobs, tables.outbox) == 0


def test_a_transaction_that_ends_the_job_without_its_result_is_refused_where_the_result_goes_on(jobs):
    (silent.message(1) | plus_one.message()).run()

    jobs.run()

    (letter,) = jobs.dead_letters
    assert "returns(" in letter["dutiful-exception-message"]
    assert rows(jobs, tables.outbox) == 0


def test_a_result_that_nobody_takes_need_not_be_known(jobs):
    silent.send(1)
    (silent.message(2) | after.message_with_options(pipe_ignore=True)).run()

    jobs.run()

    assert ran == ["silent", "silent", "after"]


@pytest.mark.parametrize("kind", [member, keyless, committed])
def test_on_success_tells_the_result_once(jobs, kind):
    message = kind.message_with_options(args=(1,), on_success="groups.told")
    jobs.broker.enqueue(message)
    jobs.broker.enqueue(message)

    jobs.run()

    result = 10 if kind is committed else 1
    assert ran.count(f"told {kind.actor_name} {result}") == 1


def test_on_failure_tells_of_failures_only(jobs):
    broken.add(1)
    member.send_with_options(args=(1,), on_failure="groups.told")
    member.send_with_options(args=(2,), on_failure="groups.told")

    later(jobs)

    assert [word for word in ran if word.startswith("told")] == [
        "told groups.member {'type': 'RuntimeError', 'message': 'not yet'}"
    ] * 2


@pytest.mark.parametrize(
    "options",
    [
        {"group_completion_uuid": 1},
        {"group_completion_uuid": "g", "group_completion_callbacks": 5},
        {"group_completion_uuid": "g", "group_completion_callbacks": [{"no": "message"}]},
        {"pipe_target": "next"},
        {"pipe_target": {"no": "message"}},
    ],
)
def test_what_can_not_be_read_is_a_dead_letter_before_anything_runs(jobs, options):
    jobs.broker.enqueue(member.message(1).copy(options=options))

    jobs.run()

    assert [letter["dutiful-reason"] for letter in jobs.dead_letters] == ["contract"]
    assert ran == []


def test_an_open_group_gets_members_over_several_attempts_and_ends_once(jobs):
    opener.send(size=5)

    later(jobs)

    assert ran == ["member 0", "member 1", "member 2", "member 3", "member 4", "all"]
    assert open_groups(jobs) == []
    assert rows(jobs, tables.outbox) == 0


def test_an_open_group_changes_only_inside_a_transaction(jobs):
    @actor(**CARD, actor_name="groups.outside", max_retries=0)
    def outside() -> None:
        with pytest.raises(ConfigurationError, match="transaction"):
            OpenGroup("x").send(member.message(1))
        raise PermanentFailure("it was refused")

    outside.send()
    jobs.run()

    assert "it was refused" in jobs.dead_letters[0]["dutiful-exception-message"]


def test_a_message_that_lacks_the_result_before_it_can_not_be_sent_by_itself(jobs):
    with pytest.raises(ContractError, match="without n"):
        jobs.broker.enqueue(plus_one.message())
    with pytest.raises(ContractError):
        plus_one.send()
    with pytest.raises(ContractError):
        plus_one.message_with_options(pipe_ignore=True)

    assert jobs.published == []


def test_a_result_is_the_first_argument_that_is_not_given(jobs):
    (member.message(4) | sum_up.message(1) | sum_up.message(b=100)).run()

    jobs.run()

    assert ran == ["member 4", "1 + 4", "5 + 100"]


def test_what_follows_a_result_of_the_wrong_type_is_a_dead_letter(jobs):
    (returns_text.message() | plus_one.message()).run()

    jobs.run()

    assert [(letter["message"].actor_name, letter["dutiful-reason"]) for letter in jobs.dead_letters] == [
        ("groups.plus_one", "contract")
    ]
