"""Time stamps of checkpoints (RFC 3161), given by a real responder on loopback."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import builders
from tests.builders import World
from trialdm.domain.errors import Broken, TrialError
from trialdm.services import sealing, stamps
from trialdm.services.jobs import Jobs
from trialdm.services.unit import SYSTEM
from trialdm.settings import Anchors
from trialdm.store.tables import Anchor

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = Stamps of a test
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[stamp]
basicConstraints = CA:false
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = config
[config]
serial = {folder}/serial
signer_cert = {folder}/stamp.pem
signer_key = {folder}/stamp.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anchors]:
    """The address of the responder and the certificate that its stamps lead to."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("stamps")
    (folder / "config").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    new = ("req", "-config", "config", "-newkey", "rsa:2048", "-noenc", "-keyout")
    openssl(folder, *new, "root.key", "-x509", "-days", "2", "-extensions", "root", "-out", "root.pem")
    openssl(folder, *new, "stamp.key", "-subj", "/CN=Stamp", "-out", "stamp.csr")
    signed = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "2", "-extfile", "config", "-extensions", "stamp")
    openssl(folder, "x509", "-req", "-in", "stamp.csr", *signed, "-out", "stamp.pem")
    lock = threading.Lock()

    class Responder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with lock:
                (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
                openssl(folder, "ts", "-reply", "-config", "config", "-queryfile", "query", "-out", "reply")
                answer = (folder / "reply").read_bytes()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Responder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Anchors(None, False, f"http://127.0.0.1:{server.server_port}/", folder / "root.pem")
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


def stamped(world: World, service: Anchors) -> int:
    sealing.seal_all(world.units)
    return Jobs(world.units, world.instance.settings.folder, given_away=service).stamp()


def judged(world: World, service: Anchors) -> tuple[int, int]:
    with world.units.reading(SYSTEM) as unit:
        good, bad = stamps.judged(unit, service.stamp_certificates)
    return len(good), len(bad)


def test_the_newest_checkpoint_of_each_tree_is_stamped_once_a_day(world: World, service: Anchors) -> None:
    builders.consented(world)
    count = stamped(world, service)
    assert count >= 2
    assert stamped(world, service) == 0, "nothing more today"
    assert judged(world, service) == (count, 0)


def test_a_stamp_of_something_else_is_found(sqlite_world: World, service: Anchors) -> None:
    builders.consented(sqlite_world)
    sealing.seal_all(sqlite_world.units)
    with sqlite_world.units.reading(SYSTEM) as unit:
        (key, note), *_ = stamps.wanted(unit).items()
    assert service.stamp_certificates
    token = stamps.ask(service.stamp_address, service.stamp_certificates, "another text")
    with pytest.raises(Broken):
        stamps.verified(token, note, stamps.trusted(service.stamp_certificates))
    sqlite_world.units.run(SYSTEM, lambda unit: stamps.keep(unit, key, token))
    assert judged(sqlite_world, service) == (0, 1)


@pytest.mark.parametrize("token", [b"", b"x" * 40, b"\x30\x03\x02\x01\x00"])
def test_what_is_no_stamp_is_refused(service: Anchors, token: bytes) -> None:
    assert service.stamp_certificates
    with pytest.raises(Broken):
        stamps.verified(token, "a note", stamps.trusted(service.stamp_certificates))


def test_a_stamp_that_leads_to_another_certificate_is_refused(service: Anchors, tmp_path: Path) -> None:
    assert service.stamp_certificates
    token = stamps.ask(service.stamp_address, service.stamp_certificates, "a note")
    new = ("req", "-newkey", "rsa:2048", "-noenc", "-keyout", "other.key", "-x509", "-days", "2", "-subj", "/CN=Stamps of a test")
    openssl(tmp_path, *new, "-out", "other.pem")
    with pytest.raises(Broken):
        stamps.verified(token, "a note", stamps.trusted(tmp_path / "other.pem"))


def test_a_service_that_is_away_leaves_everything_as_it_was(sqlite_world: World, service: Anchors) -> None:
    away = Anchors(None, False, "http://127.0.0.1:9/", service.stamp_certificates)
    with pytest.raises(TrialError) as refused:
        stamped(sqlite_world, away)
    assert refused.value.code == "AUDIT.STAMP"
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert unit.session.query(Anchor).count() == 0
