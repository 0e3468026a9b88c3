"""Passwords are made once, for the owner's eyes, and never changed."""

import stat

import pytest

from deploy.setup import passwords

COMPOSE = "x: amqp://${USER:-me}:${FIRST:?make env}@host ${SECOND:?make env} ${FIRST:?make env}"


@pytest.fixture
def compose_file(tmp_path):
    path = tmp_path / "docker-compose.yml"
    path.write_text(COMPOSE)
    return path


def test_variables_without_a_default_are_needed_each_once(compose_file):
    assert passwords.needed(compose_file) == ["FIRST", "SECOND"]


def test_what_is_missing_is_made_at_random_and_what_is_there_stays(compose_file, tmp_path):
    file = tmp_path / ".env"
    file.write_text("# mine\nFIRST=chosen\nSECOND=")

    added = passwords.add(file, passwords.needed(compose_file), passwords.known(file))

    assert added == ["SECOND"]
    found = passwords.known(file)
    assert found["FIRST"] == "chosen"
    assert found["SECOND"].isalnum()
    assert len(found["SECOND"]) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert passwords.add(file, passwords.needed(compose_file), found) == []
    assert passwords.known(file) == found


def test_a_new_file_begins_with_its_head_and_two_files_have_other_passwords(tmp_path):
    for name in ("one", "two"):
        passwords.add(tmp_path / name, ["FIRST"], {}, passwords.HEAD)
    one, two = (passwords.known(tmp_path / name) for name in ("one", "two"))

    assert one["COMPOSE_PROFILES"] == "monitoring"
    assert one["FIRST"] != two["FIRST"]


def test_nothing_is_written_where_nothing_is_needed(tmp_path):
    assert passwords.add(tmp_path / "none", ["FIRST"], {"FIRST": "given"}) == []
    assert not (tmp_path / "none").exists()
