"""Delivering mails to a small SMTP server on loopback: sent once, tried again, given up at last, never in clear where that is asked."""

import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_string
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import World
from trialdm import settings
from trialdm.services import mail
from trialdm.services.jobs import Jobs
from trialdm.services.unit import SYSTEM
from trialdm.settings import Mail
from trialdm.store.tables import Outgoing


@dataclass
class Postbox:
    """What the server has taken, and what it answers to a letter."""

    port: int = 0
    answer: str = "250 taken"
    letters: list[str] = field(default_factory=list)


class _Line(socketserver.StreamRequestHandler):
    """As much of SMTP as one letter needs."""

    def handle(self) -> None:
        box: Postbox = self.server.box  # type: ignore[attr-defined]
        self._say("220 loopback")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self._say("354 go on")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += self.rfile.readline()
                if box.answer.startswith("250"):
                    box.letters.append(text.decode())
                self._say(box.answer)
            elif word == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    box = Postbox()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Line) as server:
        server.box = box  # type: ignore[attr-defined]
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield box
        server.shutdown()
        thread.join(timeout=5)


def server_of(box: Postbox, *, starttls: bool = False) -> Mail:
    return Mail("127.0.0.1", box.port, "trialdm@trial.example", starttls)


def outbox(world: World) -> list[Outgoing]:
    with world.units.reading(SYSTEM) as unit:
        return list(unit.session.scalars(select(Outgoing).order_by(Outgoing.to)))


def test_every_waiting_mail_is_sent_once(world: World, postbox: Postbox) -> None:
    builders.randomised(world)
    assert mail.deliver(world.units, server_of(postbox)) == 3
    assert mail.deliver(world.units, server_of(postbox)) == 0
    letters = [message_from_string(text) for text in postbox.letters]
    assert sorted(letter["To"] for letter in letters) == [row.to for row in outbox(world)]
    assert {letter["From"] for letter in letters} == {"trialdm@trial.example"}
    assert all("a new notice in trialdm about trial PRE-TMR" in str(letter.get_payload()) for letter in letters)
    with world.units.reading(SYSTEM) as unit:
        assert mail.status(unit) == {"waiting": 0, "sent": 3, "failed": 0, "last_error": ""}
    assert all(row.sent_at == world.now for row in outbox(world))


def test_a_failure_is_kept_and_tried_again_later_and_given_up_after_five(world: World, postbox: Postbox) -> None:
    builders.randomised(world)
    postbox.answer = "451 the disk is full"
    for number, wait in enumerate(mail.TRIES, 1):
        world.now += wait
        assert mail.deliver(world.units, server_of(postbox)) == 0
        assert {row.tries for row in outbox(world)} == {number}
        assert mail.deliver(world.units, server_of(postbox)) == 0
        assert {row.tries for row in outbox(world)} == {number}, "not before its time"
    assert {row.state for row in outbox(world)} == {"failed"}
    with world.units.reading(SYSTEM) as unit:
        assert "the disk is full" in mail.status(unit)["last_error"]
    postbox.answer = "250 taken"
    world.now += timedelta(days=1)
    assert mail.deliver(world.units, server_of(postbox)) == 0


def test_a_second_try_succeeds(sqlite_world: World, postbox: Postbox) -> None:
    builders.randomised(sqlite_world)
    assert mail.deliver(sqlite_world.units, Mail("127.0.0.1", 1, "trialdm@trial.example", False)) == 0
    assert "refused" in outbox(sqlite_world)[0].message.lower()
    sqlite_world.now += timedelta(minutes=2)
    assert mail.deliver(sqlite_world.units, server_of(postbox)) == 3


def test_nothing_goes_out_in_clear_where_encryption_is_asked_for(sqlite_world: World, postbox: Postbox) -> None:
    builders.randomised(sqlite_world)
    assert mail.deliver(sqlite_world.units, server_of(postbox, starttls=True)) == 0
    assert postbox.letters == []
    assert "STARTTLS" in outbox(sqlite_world)[0].message


def test_two_workers_never_make_the_same_try(world: World, postbox: Postbox) -> None:
    builders.randomised(world)
    workers = [threading.Thread(target=mail.deliver, args=(world.units, server_of(postbox))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(postbox.letters) == 3


def test_the_worker_delivers_while_it_runs(sqlite_world: World, postbox: Postbox) -> None:
    builders.randomised(sqlite_world)
    jobs = Jobs(sqlite_world.units, sqlite_world.instance.settings.folder, server_of(postbox))
    jobs.start()
    until = time.monotonic() + 20
    while len(postbox.letters) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    jobs.stop()
    assert len(postbox.letters) == 3


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('[mail]\nhost = "h"\nport = 25\nfrom = "a@b.org"\n', ""),
        ('[mail]\nhost = "h"\nport = 25\nfrom = "a@b.org"\nstarttls = false\n', ""),
        ('[mail]\nhost = "h"\nport = 25\n', "'from' is missing"),
        ('[mail]\nhost = "h"\nport = "25"\nfrom = "a@b.org"\n', "'port' does not fit"),
        ('[mail]\nhost = "h"\nport = 25\nfrom = "a@b.org"\npassword = "x"\n', "'password' does not fit"),
        ("mail = 5\n", "'host' is missing"),
    ],
)
def test_the_table_of_the_settings(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / settings.FILE).write_text(text, "utf-8")
    if wrong:
        with pytest.raises(settings.NoInstance, match=wrong):
            settings.load(tmp_path)
    else:
        found = settings.load(tmp_path).mail
        assert found == Mail("h", 25, "a@b.org", "false" not in text)
