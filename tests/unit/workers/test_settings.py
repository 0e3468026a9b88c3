"""The settings tree."""

import pytest

from workers.errors import ConfigurationError
from workers.settings import Settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    for name in ("DUTIFUL_RABBITMQ__URL", "DUTIFUL_STORE__URL"):
        monkeypatch.delenv(name, raising=False)


def test_every_setting_has_a_default():
    chosen = Settings.load()

    assert chosen.environment == "development"
    assert chosen.rabbitmq.url.get_secret_value().endswith("/dutiful")


def test_a_variable_reaches_its_field(monkeypatch):
    monkeypatch.setenv("DUTIFUL_RETRIES__MAX_RETRIES", "3")

    assert Settings.load().retries.max_retries == 3


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("DUTIFUL_RABITMQ__URL", "DUTIFUL_RABBITMQ__URL"),
        ("DUTIFUL_RABBITMQ__HEARTBEAT_SECOND", "DUTIFUL_RABBITMQ__HEARTBEAT_SECONDS"),
        ("DUTIFUL_ENVIROMENT", "DUTIFUL_ENVIRONMENT"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_real_name(monkeypatch, misspelt, meant):
    monkeypatch.setenv(misspelt, "1")

    with pytest.raises(ConfigurationError) as refusal:
        Settings.load()

    assert misspelt in str(refusal.value)
    assert meant in refusal.value.expected


def test_a_value_that_cannot_work_names_its_variable(monkeypatch):
    monkeypatch.setenv("DUTIFUL_STORE__POOL_SIZE", "many")

    with pytest.raises(ConfigurationError, match="DUTIFUL_STORE__POOL_SIZE"):
        Settings.load()


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    path = tmp_path / "url"
    path.write_text("amqp://me:secret@127.0.0.1/v\n")
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL_FILE", str(path))

    assert Settings.load().rabbitmq.url.get_secret_value() == "amqp://me:secret@127.0.0.1/v"


def test_a_secret_and_its_file_together_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL", "amqp://127.0.0.1/v")

    with pytest.raises(ConfigurationError, match="both set"):
        Settings.load()


def test_a_secret_file_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL_FILE", str(tmp_path / "nowhere"))

    with pytest.raises(ConfigurationError, match="nowhere"):
        Settings.load()


def test_a_secret_is_not_in_the_error_about_it(monkeypatch):
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL", "http://me:hunter2@127.0.0.1/v")

    with pytest.raises(ConfigurationError) as refusal:
        Settings.load()

    assert "hunter2" not in str(refusal.value)
    assert "amqp://" in str(refusal.value)


def test_a_broker_in_memory_is_refused_outside_development(monkeypatch):
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL", "memory://")
    monkeypatch.setenv("DUTIFUL_ENVIRONMENT", "production")

    with pytest.raises(ConfigurationError, match="loses every job"):
        Settings.load()
