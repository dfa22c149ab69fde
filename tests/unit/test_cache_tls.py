"""Over TLS only a server whose certificate is trusted is asked."""

import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from entrepot.cache.store import Cache
from entrepot.cache.web import HttpSource
from entrepot.errors import Refused, UsageError

DATA = b"over tls"
HEX = hashlib.sha256(DATA).hexdigest()


class Face(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A refused handshake is what one of the tests is about."""


def certificate(folder: Path) -> tuple[str, str]:
    """Files of a certificate for 127.0.0.1 that signs itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert"), str(folder / "key")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of a TLS server, and the file of its certificate."""
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Quiet(("127.0.0.1", 0), Face) as made:
        made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield f"https://127.0.0.1:{made.server_port}", cert
        made.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(str(tmp_path / "root"))


def test_a_certificate_nobody_trusts_is_refused_at_once(cache: Cache, server: tuple[str, str]) -> None:
    with pytest.raises(Refused, match="not trusted"):
        cache.get(HEX, HttpSource(server[0] + "/x"))


def test_a_file_of_certificates_is_trusted(cache: Cache, server: tuple[str, str]) -> None:
    address, cert = server
    assert Path(cache.get(HEX, HttpSource(address + "/x", cafile=cert))).read_bytes() == DATA
    with pytest.raises(UsageError, match="certificates"):
        cache.get("0" * 64, HttpSource(address + "/x", cafile=cert + "-none"))


def test_insecure_asks_without_trust_and_still_hashes(cache: Cache, server: tuple[str, str]) -> None:
    source = HttpSource.of_server(server[0], HEX, insecure=True)
    assert Path(cache.get(HEX, source)).read_bytes() == DATA
