"""One and only one: many clients at real servers, servers killed in the middle, and an opinion that is withdrawn under load.

Each server is a process of its own (`trialdm serve`); clients are threads that ask whichever server answers, and ask again with
the same key where none did.
"""

import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import ROOT, TODAY, TRIAL, World
from tests.independent import verifier
from trialdm import settings
from trialdm.domain.ethics import Approval
from trialdm.services import allocations, approvals, chains, delegations, gates, ledgers, people, tokens, trail
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import Allocation, AuditEvent, Idempotency, SchemeEvent

CLIENTS, SERVERS, THREADS = 32, 3, 12
PARTICIPANTS, RUSH, KILLS = 24, 20, 3
AWAY = (ConnectionError, http.client.HTTPException, TimeoutError)


@dataclass
class Server:
    """One process that serves the instance."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "trialdm", "--instance", str(self.folder), "serve", "--although-unsafe", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", str(THREADS)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)

    @property
    def log(self) -> Path:
        """What the servers of this instance say when something breaks."""
        return self.folder / "servers.log"

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """As `kill -9` does: nothing is finished, nothing is tidied up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)


@contextmanager
def serving(folder: Path, count: int = 2) -> Iterator[list[Server]]:
    servers = [Server(folder) for _ in range(count)]
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.kill()


@dataclass(frozen=True)
class Answer:
    """What a client was told about a participant with a key."""

    participant: str
    key: str
    status: int
    body: dict[str, Any]


@dataclass
class Clients:
    """Threads that each take the next (participant, key) and ask until somebody answers."""

    servers: Sequence[Server]
    token: str
    answers: list[Answer] = field(default_factory=list)
    cut_off: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask_all(self, wanted: Sequence[tuple[str, str]], meanwhile: Callable[[], None] = lambda: None, every: float = 0) -> list[Answer]:
        """Every answer. Requests arrive `every` so many seconds, or all at once; `meanwhile` runs beside the clients."""
        before, queue = len(self.answers), Queue[tuple[str, str] | None]()
        with ThreadPoolExecutor(CLIENTS + 1) as threads:
            beside = [threads.submit(meanwhile)]
            beside += [threads.submit(self._work, queue, random.Random(number)) for number in range(CLIENTS)]
            for item in wanted:
                queue.put(item)
                time.sleep(every)
            for _ in range(CLIENTS):
                queue.put(None)
            for done in beside:
                done.result()
        found = self.answers[before:]
        assert len(found) == len(wanted)
        return found

    def _work(self, queue: "Queue[tuple[str, str] | None]", chance: random.Random) -> None:
        while item := queue.get():
            answer = self._asked_until_answered(*item, chance)
            with self._lock:
                self.answers.append(answer)

    def _asked_until_answered(self, participant: str, key: str, chance: random.Random) -> Answer:
        for _ in range(400):
            try:
                return self._ask(chance.choice(self.servers).port, participant, key)
            except AWAY:
                with self._lock:
                    self.cut_off += 1
                time.sleep(0.05)
        raise AssertionError("no server answers")

    def _ask(self, port: int, participant: str, key: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
            connection.request("POST", f"/api/v1/trials/{TRIAL}/participants/{participant}/randomise", headers=headers)
            response = connection.getresponse()
            return Answer(participant, key, response.status, json.loads(response.read()))
        finally:
            connection.close()


def prepared(world: World, count: int) -> list[str]:
    """Participants of both sites, ready on the day that the servers believe it is."""
    with (world.instance.settings.folder / settings.FILE).open("a", encoding="utf-8") as file:
        file.write(f"today = {TODAY.isoformat()}\n")
    world.now = datetime.combine(TODAY, datetime.now(UTC).time(), UTC)
    return [builders.ready(world, ("S01", "S02")[i % 2], opioid_pre=i % 2) for i in range(count)]


def token(world: World) -> str:
    email = world.actor("trial-coordinator").email
    return world.run("trial-coordinator", lambda unit: tokens.create(unit, people.by_email(unit, email), "races"))


def stored(world: World, table: type[Any], *order: Any) -> list[Any]:
    with world.units.reading(SYSTEM) as unit:
        return list(unit.session.scalars(select(table).order_by(*order)))


def assert_whole(world: World) -> list[Allocation]:
    """No gap, no double, in order: places, events, slots, numbers of sites, keys and the trail; and the chain holds."""
    rows = stored(world, Allocation, Allocation.seq)
    assert [row.seq for row in rows] == [row.slot for row in rows] == list(range(len(rows)))
    assert [row.event for row in rows] == list(range(1, len(rows) + 1))
    assert len({row.participant_id for row in rows}) == len(rows)
    sites = defaultdict(list)
    for row in rows:
        sites[row.site].append(row.site_no)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sites.values())
    assert [row.number for row in rows] == [f"{row.site}-{row.site_no:04d}" for row in rows]
    events = [json.loads(row.data) for row in stored(world, SchemeEvent, SchemeEvent.i)]
    assert [(event["i"], event["seq"], event["participant"]) for event in events] == [(r.event, r.seq, r.participant_id) for r in rows]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert Counter(row.subject for row in stored(world, Idempotency)) == {row.participant_id: 1 for row in rows}
    trailed = [e for e in stored(world, AuditEvent, AuditEvent.seq) if (e.action, e.field) == ("participant.randomise", "number")]
    assert [entry.entity_id for entry in trailed] == [row.participant_id for row in rows]
    with world.units.reading(SYSTEM) as unit:
        assert chains.verify_chain(unit, TRIAL) == len(rows)
        assert trail.verify(unit) > 0
    whole = world.run("trial-manager", lambda unit: ledgers.ledger_file(unit, TRIAL))
    assert verifier.verify(json.loads(json.dumps(whole))).good
    return rows


def test_many_clients_and_killed_servers_give_everybody_one_allocation(world: World) -> None:
    """Two clients with the same key and one with another for each participant, at once; a server is killed every so often."""
    idents = prepared(world, PARTICIPANTS)
    wanted = [(ident, f"{which}-{ident}") for ident in idents for which in ("one", "one", "other")]
    with serving(world.instance.settings.folder, SERVERS) as servers:
        clients = Clients(servers, token(world))
        told = clients.ask_all(wanted, lambda: kill_some(servers, clients, len(wanted)))
        again = clients.ask_all(sorted(set(wanted)))
    assert {answer.body.get("code", "") for answer in (*told, *again)} == {"", "ALLOC.ALREADY"}, servers[0].log.read_text()[-20_000:]
    rows = {row.participant_id: row for row in assert_whole(world)}
    assert set(rows) == set(idents)
    keys = {row.subject: row.key for row in stored(world, Idempotency)}
    for answer in (*told, *again):
        row = rows[answer.participant]
        made = {"participant": row.participant_id, "number": row.number, "at": row.at.isoformat(timespec="seconds")}
        if answer.key == keys[answer.participant]:
            assert (answer.status, answer.body) == (201, made)
        else:
            assert (answer.status, answer.body["code"], answer.body["allocation"]) == (409, "ALLOC.ALREADY", made)


def kill_some(servers: Sequence[Server], clients: Clients, total: int) -> None:
    """Kill one server after each share of the answers, and start it again while the others go on."""
    chance = random.Random(7)
    for number in range(1, KILLS + 1):
        while len(clients.answers) < total * number // (KILLS + 2):
            time.sleep(0.005)
        time.sleep(chance.random() * 0.05)
        victim = servers[number % SERVERS]
        victim.kill()
        victim.start()
    assert clients.cut_off


def withdraw_opinion(world: World) -> None:
    withdrawn = Approval("rec", "withdrawn", decided_on=TODAY)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, withdrawn))


def end_line(world: World) -> None:
    email = world.actor("trial-coordinator").email

    def work(unit: Unit) -> None:
        line = next(line for line in delegations.lines(unit, TRIAL) if line.email == email)
        delegations.end(unit, TRIAL, line.id, reason="has left")

    world.run("trial-manager", work)


def halt(world: World) -> None:
    world.run("sponsor", lambda unit: gates.move_trial(unit, TRIAL, "pause", reason="safety"))


@pytest.mark.parametrize(
    ("take_away", "code", "action"),
    [
        (withdraw_opinion, "GATE.GOV-02", "register.approval"),
        (end_line, "GATE.GOV-14", "delegation.end"),
        (halt, "GATE.GOV-44", "trial.pause"),
    ],
    ids=["the opinion", "the line of the delegation log", "the trial's being open"],
)
def test_no_allocation_follows_the_loss_of(world: World, take_away: Callable[[World], None], code: str, action: str) -> None:
    """What allowed them is taken away in the middle of the rush: all allocations stand before it, all refusals come after.

    Every kept answer of the gate is the same when it is given again.
    """
    idents = prepared(world, RUSH + 6)
    early, rush = idents[:6], idents[6:]
    with serving(world.instance.settings.folder) as servers:
        clients = Clients(servers, token(world))
        told = clients.ask_all([(ident, f"key-{ident}") for ident in early])

        def meanwhile() -> None:
            while len(clients.answers) < len(early) + 3:
                time.sleep(0.002)
            world.units = replace(world.units, clock=lambda: datetime.combine(TODAY, datetime.now(UTC).time(), UTC))
            take_away(world)

        told += clients.ask_all([(ident, f"key-{ident}") for ident in rush], meanwhile, every=0.05)
        after = clients.ask_all([(ident, f"later-{ident}") for ident in idents])
    assert {answer.body.get("code", "") for answer in (*told, *after)} == {"", code, "ALLOC.ALREADY"}
    rows = assert_whole(world)
    made = {row.participant_id for row in rows}
    assert len(early) < len(made) < len(idents)
    assert made == {answer.participant for answer in told if answer.status == 201}
    assert {(answer.status, answer.body["code"]) for answer in told if answer.status != 201} == {(403, code)}
    assert {answer.participant for answer in after if answer.status == 409} == made
    assert Counter(answer.status for answer in after) == {409: len(made), 403: len(idents) - len(made)}
    entries = stored(world, AuditEvent, AuditEvent.seq)
    taken = max(entry.seq for entry in entries if entry.action == action)
    assert max(entry.seq for entry in entries if entry.action == "participant.randomise") < taken
    replayed = world.read("trial-manager", lambda unit: list(gates.replay(unit, TRIAL)))
    assert len(made) <= len([row for row in replayed if row.act == "randomise"])
    assert [row for row in replayed if row.different] == []


def test_whoever_waited_for_their_turn_is_not_refused_for_the_clock(world: World) -> None:
    """Two ask at once; the one who asked first gets the second place. Their clock is right: they have only waited."""
    first, second = builders.ready(world), builders.ready(world)

    def overtaken(unit: Unit) -> None:
        world.now += timedelta(milliseconds=5)
        world.run("trial-coordinator", lambda other: allocations.randomise(other, TRIAL, second, "second"))
        allocations.randomise(unit, TRIAL, first, "first")

    world.run("trial-coordinator", overtaken)
    assert [row.participant_id for row in assert_whole(world)] == [second, first]
