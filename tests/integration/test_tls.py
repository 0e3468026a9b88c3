"""TLS to RabbitMQ and to PostgreSQL with a private authority: who isn't the right one hears nothing."""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from authority import DAY, Authority, Door, PostgresDoor
from processes import ROOT, SHOP, envelope, until
from sqlalchemy import make_url, select

from tests.commands import dutiful, unset
from tests.shell import Shell
from workers.dead_queue import DeadQueue
from workers.doctor import rabbitmq as broker_checks
from workers.doctor import store as store_checks
from workers.doctor.clocks import broker_clock, store_clock
from workers.errors import BrokerUnreachable, ConfigurationError, StoreUnavailable
from workers.origin import Origin, parts_of
from workers.publisher import Publisher
from workers.queues import count, management_of
from workers.rabbitmq import DutifulBroker
from workers.settings import Settings
from workers.store.engine import begin, create_store_engine
from workers.store.identity import identity_of
from workers.store.migrate import migrate


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder / "ours"), Authority(folder / "theirs")


@pytest.fixture(scope="module")
def contexts(authorities):
    """What a server shows: by the name of the case, and what is said of it."""
    ours, theirs = authorities
    return {
        "right": (ours.context(), None),
        "wrong authority": (theirs.context(), "unable to get local issuer certificate"),
        "wrong host": (ours.context("elsewhere.example"), "certificate is not valid for '127.0.0.1'"),
        "expired": (ours.context(good_for=-DAY), "certificate has expired"),
    }


FLAWED = ("wrong authority", "wrong host", "expired")


@pytest.fixture
def broker_door(rabbitmq, contexts):
    """RabbitMQ behind TLS: the door, and the amqps:// address."""
    there = urlsplit(rabbitmq)
    door = Door(there.hostname, there.port, contexts["right"][0])
    who = there.netloc.rpartition("@")[0]
    yield door, f"amqps://{who}@127.0.0.1:{door.port}{there.path}"
    door.close()


@pytest.fixture
def management_door(management, contexts):
    door = Door(management.base_url.host, management.base_url.port, contexts["right"][0])
    yield door
    door.close()


@pytest.fixture
def store_door(postgres, contexts):
    """PostgreSQL behind TLS: the door, and the address."""
    there = make_url(postgres)
    door = PostgresDoor(there.host, there.port, contexts["right"][0])
    yield door, there.set(port=door.port).render_as_string(hide_password=False)
    door.close()


@pytest.fixture
def make_broker(authorities):
    """A broker that trusts our authority, or another file: make_broker(url)."""
    made = []

    def make(url, ca_path=None):
        made.append(DutifulBroker(url=url, middleware=[], ca_path=ca_path or authorities[0].file))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_worker_and_every_command_go_through_tls_to_both(
    broker_door, store_door, start_worker, authorities, ledger, *, shop, tmp_path
):
    told = {
        "DUTIFUL_RABBITMQ__URL": broker_door[1],
        "DUTIFUL_RABBITMQ__CA_PATH": str(authorities[0].file),
        "DUTIFUL_STORE__URL": store_door[1],
        "DUTIFUL_STORE__CA_PATH": str(authorities[0].file),
        "SHOP_LEDGER": str(ledger),
    }
    for words in (("store", "migrate", "actors"), ("queues", "declare", "shop"), ("queues", "verify", "shop")):
        environment = unset() | told | {"PYTHONPATH": f"{SHOP}:{ROOT}"}
        done = dutiful(*words, environment=environment, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    worker = start_worker("-p", "1", "-t", "2", **told)
    worker.wait_until_ready()
    shop.publish(envelope("good", n=1), envelope("hopeless"))

    until(lambda: "good 1" in ledger.read_text(), what=worker.text())
    until(lambda: shop.count("shop.XQ") == 1)


def test_a_publisher_tells_which_certificate_it_refuses_and_sends_when_it_is_mended(
    broker_door, make_broker, contexts, authorities, management_door
):
    door, url = broker_door
    for case in FLAWED:
        door.context, said = contexts[case]
        management_door.context = door.context
        broker = make_broker(url)
        (line,), there = broker_checks.reached(broker, ["shop"])
        assert not there
        assert line.what == "RabbitMQ's certificate is refused, so nothing was sent"
        assert line.expected.startswith(
            "one for the host in DUTIFUL_RABBITMQ__URL, signed by an authority in DUTIFUL_R"
        )
        assert said in line.received, case
        with pytest.raises(BrokerUnreachable, match=said):  # as it is told where a job is sent
            raise broker.publisher.unreachable()
        with pytest.raises(BrokerUnreachable, match=said):
            count(broker, "shop")
        with pytest.raises(BrokerUnreachable, match=said), DeadQueue(broker, "shop.XQ", "a test"):
            pytest.fail("it was let in")
        with pytest.raises(BrokerUnreachable, match=said):
            Origin(url, parts_of(["shop"], include_dead=False), authorities[0].file).look(broker)
        (line,) = broker_clock(management_of(broker, f"https://127.0.0.1:{management_door.port}"))
        assert said in line.received, case
        assert "DUTIFUL_RABBITMQ__CA_PATH" in line.mend

    door.context = management_door.context = contexts["right"][0]
    until(lambda: broker_checks.reached(broker, ["shop"])[1])  # it has gone on trying
    broker.declare_queue("shop", ensure=True)
    assert count(broker, "shop").ready == 0
    with DeadQueue(broker, "shop.XQ", "a test") as letters:
        assert letters.total == 0
    assert broker_clock(management_of(broker, f"https://127.0.0.1:{management_door.port}"))[0].verdict == "ok"


@pytest.mark.parametrize("options", [{}, {"delay": timedelta(minutes=1)}], ids=["now", "later"])
def test_a_service_s_publisher_refuses_and_sends_the_same(broker_door, make_broker, contexts, authorities, options):
    door, url = broker_door
    make_broker(url).declare_queue("shop", ensure=True)
    door.context, said = contexts["expired"]
    with Publisher(url, app="test", ca_path=authorities[0].file, publish_timeout_seconds=1) as publisher:
        with pytest.raises(BrokerUnreachable, match="certificate is refused") as refused:
            publisher.publish("good", {"n": 1}, queue="shop", **options)
        assert said in refused.value.received
        door.context = contexts["right"][0]
        until(lambda: sent(publisher, options))


def sent(publisher, options):
    try:
        return publisher.publish("good", {"n": 1}, queue="shop", **options)
    except BrokerUnreachable:
        return None  # it waits a little longer after each time that it could not connect


def test_the_authorities_of_the_system_do_not_make_up_for_ours(broker_door, make_broker, authorities, tmp_path):
    broker = DutifulBroker(url=broker_door[1], middleware=[])
    (line,), _ = broker_checks.reached(broker, ["shop"])
    broker.close()

    assert line.what == "RabbitMQ's certificate is refused, so nothing was sent"
    assert "unable to get local issuer certificate" in line.received
    shell = Shell({}, tmp_path)
    shell.paste(line.mend, **{"/PATH/TO/ca.pem": str(authorities[0].file)})
    trusting = make_broker(broker_door[1], shell.environment["DUTIFUL_RABBITMQ__CA_PATH"])
    assert broker_checks.reached(trusting, ["shop"])[1]


def test_amqps_to_a_port_without_tls_is_told_until_the_port_is_right(rabbitmq, make_broker, broker_door):
    (line,), _ = broker_checks.reached(make_broker(rabbitmq.replace("amqp:", "amqps:")), ["shop"])

    assert line.received == "no TLS there"
    assert line.mend == "# correct the port in DUTIFUL_RABBITMQ__URL: it is not the one for TLS"
    assert broker_checks.reached(make_broker(broker_door[1]), ["shop"])[1]


def test_the_store_tells_which_certificate_it_refuses_and_opens_when_it_is_mended(
    store_door, contexts, authorities, tmp_path
):
    door, url = store_door
    engine = create_store_engine(url, ca_path=authorities[0].file)
    for case in FLAWED:
        door.context, said = contexts[case]
        with pytest.raises(StoreUnavailable, match="the store's certificate is refused") as refused, begin(engine):
            pytest.fail("it was let in")
        assert said in refused.value.received, case
        assert refused.value.expected.startswith(
            "one for the host 127.0.0.1, signed by an authority in DUTIFUL_STORE__"
        )
        for (line,) in (store_checks.schema(engine, ())[0], store_clock(engine)):
            assert line.what == "the store's certificate is refused"
            assert line.mend == "export DUTIFUL_STORE__CA_PATH=/PATH/TO/ca.pem # or give the store a new certificate"
    engine.dispose()
    door.context = contexts["wrong authority"][0]  # which is the right one for who trusts it
    shell = Shell({}, tmp_path)
    shell.paste(line.mend, **{"/PATH/TO/ca.pem": str(authorities[1].file)})
    engine = create_store_engine(url, ca_path=shell.environment["DUTIFUL_STORE__CA_PATH"])
    migrate(engine, None)
    assert store_checks.schema(engine, ())[0][0].verdict == "ok"
    assert store_clock(engine)[0].what.startswith("the store and this host agree to ")
    engine.dispose()
    door.context = contexts["right"][0]
    engine = create_store_engine(url, ca_path=authorities[0].file)
    assert identity_of(engine)
    with begin(engine) as connection:
        assert connection.scalar(select(1)) == 1
    engine.dispose()


def test_a_store_without_tls_is_refused_where_a_certificate_is_expected(postgres, authorities):
    engine = create_store_engine(postgres, ca_path=authorities[0].file)

    with pytest.raises(StoreUnavailable, match="no TLS there"), begin(engine):
        pytest.fail("it was let in")
    with pytest.raises(ConfigurationError, match="sslmode=prefer"):
        create_store_engine(f"{postgres}?sslmode=prefer", ca_path=authorities[0].file)
    engine.dispose()


def test_an_address_can_t_switch_the_checks_off_and_a_file_that_is_none_is_refused(monkeypatch, tmp_path, make_broker):
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL", "amqps://u:p@h/v?ssl_options={'cert_reqs':0}")
    with pytest.raises(ConfigurationError, match="certificates are always checked"):
        Settings.load()
    monkeypatch.setenv("DUTIFUL_RABBITMQ__URL", "amqps://u:p@h/v")
    monkeypatch.setenv("DUTIFUL_RABBITMQ__CA_PATH", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError, match="DUTIFUL_RABBITMQ__CA_PATH"):
        Settings.load()
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match="the file of authorities can't be read"):
        make_broker("amqps://u:p@h/v", tmp_path / "text.pem")
