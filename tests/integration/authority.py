"""A private authority, the certificates that it signs, and a door that speaks TLS before a server that doesn't."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

POSTGRESQL_ASKS = bytes.fromhex("0000000804d2162f")
DAY = dt.timedelta(days=1)


class Authority:
    """Signs certificates; `file` has its own, for those who trust it."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.file = folder, folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {folder.name}")])
        own = self._certificate(self._name, self._key.public_key(), DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def context(self, host="127.0.0.1", good_for=DAY):
        """What a server with a certificate for this host needs; good_for may be in the past."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        try:
            other = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            other = x509.DNSName(host)
        signed = (
            self._certificate(name, key.public_key(), good_for)
            .add_extension(x509.SubjectAlternativeName([other]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self.folder / "server.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(self, name, public_key, good_for):
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + good_for)
        )


class Door:
    """Speaks TLS on a port of 127.0.0.1, and passes on what is in it. `context` may be changed between connections.

    PostgreSQL's clients ask first whether there is TLS; everybody else begins with it.
    """

    asks_first = False

    def __init__(self, host, port, context):
        self.behind, self.context = (host, port), context
        self._loop, self._transports = asyncio.new_event_loop(), []
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        assert ready.wait(10)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # clients that refuse a certificate are what is tested
        server = self._loop.run_until_complete(asyncio.start_server(self._enter, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for transport in self._transports:
            transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))  # the turn in which their sockets are closed
        self._loop.close()

    async def _enter(self, reader, writer):
        self._transports.append(writer.transport)
        try:
            if self.asks_first:
                assert await reader.readexactly(8) == POSTGRESQL_ASKS
                writer.write(b"S")
                await writer.drain()
            await writer.start_tls(self.context)
            there_reader, there_writer = await asyncio.open_connection(*self.behind)
            self._transports.append(there_writer.transport)
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


class PostgresDoor(Door):
    """The door of a PostgreSQL."""

    asks_first = True


async def _pump(source, target):
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    finally:
        target.close()
