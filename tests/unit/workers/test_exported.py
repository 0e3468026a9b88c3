"""The exported contracts, and the command that compares them with the actors."""

import json

import pytest
from dramatiq.brokers.stub import StubBroker
from typer.testing import CliRunner

from workers import actor
from workers.cli import app
from workers.errors import ConfigurationError
from workers.exported import check, export
from workers.schemas import schemas

CARD = {"owner": "shop", "expects": "a parcel", "rollback": "call it back"}


def first(order_id: int) -> None: ...


def with_note(order_id: int, note: str = "") -> None: ...


def with_colour(order_id: int, note: str = "", colour: str = "") -> None: ...


def without_note(order_id: int, colour: str = "") -> None: ...


def site(fn, *names, queue="shipping", key="{order_id}"):
    """The schemas of a site with one function under some names."""
    broker = StubBroker(middleware=[])
    for name in names or ("ship",):
        actor(broker=broker, actor_name=name, queue_name=queue, key=key, **CARD)(fn)
    return schemas(broker)


def test_an_added_optional_argument_passes_and_the_earlier_contract_stays_beside(tmp_path):
    export(site(first), tmp_path)

    (found,) = check(site(with_note), tmp_path)
    changes = export(site(with_note), tmp_path)

    assert (found.severity, found.why) == ("note", "it differs from the export")
    assert "workers first" in found.rollout
    assert [each.change for each in changes] == ["changed"]
    assert len(list(tmp_path.glob("ship@*.json"))) == 1
    assert check(site(with_note), tmp_path) == []


def test_what_an_earlier_contract_took_breaks_until_its_file_is_deleted(tmp_path):
    export(site(with_note), tmp_path)
    export(site(with_colour), tmp_path)

    broken = [each for each in check(site(without_note), tmp_path) if each.severity == "breaks"]

    assert [each.where for each in broken] == ["note", "note"]
    assert "until no message with it waits" in broken[0].rollout
    export(site(without_note), tmp_path)
    for old in tmp_path.glob("ship@*.json"):
        old.unlink()
    assert check(site(without_note), tmp_path) == []


def test_a_contract_that_returns_is_exported_once(tmp_path):
    for fn in (first, with_note, first):
        export(site(fn), tmp_path)

    assert len(list(tmp_path.glob("ship*.json"))) == 2
    assert [each.change for each in export(site(first), tmp_path)] == ["same"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"queue": "parcels"}, "its queue was shipping, and is parcels now"),
        ({"key": None}, "its key was {order_id}, and is None now"),
    ],
)
def test_another_queue_or_key_breaks(changed, said, tmp_path):
    export(site(first), tmp_path)

    (broken,) = [each for each in check(site(first, **changed), tmp_path) if each.severity == "breaks"]

    assert said in broken.why
    assert "new actor" in broken.rollout


def test_an_actor_that_is_gone_breaks_and_one_that_came_does_not(tmp_path):
    export(site(first, "ship"), tmp_path)
    (new,) = check(site(first, "ship", "gift"), tmp_path)
    export(site(first, "ship", "gift"), tmp_path)

    (broken,) = check(site(first, "ship"), tmp_path)

    assert (new.severity, new.why) == ("note", "it is not exported")
    assert (broken.severity, broken.actor) == ("breaks", "gift")
    assert "until no message of it waits" in broken.rollout
    assert [each.change for each in export(site(first, "ship"), tmp_path)] == ["same", "gone"]


@pytest.mark.parametrize("text", ["{", "[]", '{"x-dutiful": {}}'])
def test_a_file_that_is_no_contract_is_named(text, tmp_path):
    (tmp_path / "ship.json").write_text(text)

    with pytest.raises(ConfigurationError, match=r"ship\.json can't be read"):
        check(site(first), tmp_path)


def test_a_check_without_an_export_says_what_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match="dutiful contracts export"):
        check(site(first), tmp_path)


def test_the_command_s_exit_status_tells_whether_messages_that_wait_would_break(tmp_path):
    def run(command, *options):
        return CliRunner().invoke(app, ["contracts", command, "--folder", str(tmp_path), *options])

    exported = run("export", "--json")
    same = run("check")
    path = tmp_path / "sitemap.build.json"
    path.write_text(path.read_text().replace('"reason"', '"because"'))
    broken = run("check", "--json")

    assert {each["change"] for each in json.loads(exported.stdout)} == {"new"}
    assert same.exit_code == 0
    assert "no message that waits would break" in same.stdout
    assert broken.exit_code == 1
    assert [each["where"] for each in json.loads(broken.stdout) if each["severity"] == "breaks"] == ["because"]
