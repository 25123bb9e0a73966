"""Work in the background: making a requested package, rehearsing an allocation, and delivering mails. The queues are a small
SQLite file beside the instance (huey).

A job that was cut off is not lost: the request stands in the database, and it is queued again when the worker starts. Packages,
rehearsals and mails have a thread each, so that a long rehearsal or a slow mail server holds up no package.
"""

import hashlib
import logging
import shutil
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from huey import SqliteHuey
from huey.api import TaskWrapper
from sqlalchemy import select

from trialdm.domain.errors import TrialError
from trialdm.rehearsal.simulate import Rehearsal
from trialdm.services import anchors, clocks, identities, ledgers, mail, packages, people, rehearsals, sealing, stamps
from trialdm.services.unit import SYSTEM, Actor, Units
from trialdm.settings import Anchors, Mail
from trialdm.store.tables import Account, ExportJob, RehearsalJob, Trial

Requested = TypeVar("Requested", ExportJob, RehearsalJob)

_IDLE_SECONDS = 0.5
_POST_SECONDS = 5.0
_HEADS_SECONDS = 600.0
_SEAL_SECONDS = 3.0
_CUT_OFF = ("waiting", "working")


class _Stopped(Exception):
    """The worker is to stop in the middle of a job, which is taken up again when it starts."""


class Jobs:
    """The queues of one instance, and the worker of each."""

    def __init__(
        self,
        units: Units,
        folder: Path,
        mail_server: Mail | None = None,
        address: str = "",
        given_away: Anchors | None = None,
        orphan_minutes: int = 10,
    ) -> None:
        self.units, self.folder, self.mail_server, self.address, self.orphan_minutes = units, folder, mail_server, address, orphan_minutes
        self.given_away = given_away or Anchors()
        exports, simulations = self.queues = [
            SqliteHuey(name, filename=str(folder / "jobs.db"), results=False) for name in ("trialdm", "trialdm-rehearsals")
        ]
        self.make_export: TaskWrapper = exports.task(name="make_export")(self._make_export)
        self.make_rehearsal: TaskWrapper = simulations.task(name="make_rehearsal")(self._make_rehearsal)
        self._stopping = threading.Event()
        self._workers: list[threading.Thread] = []

    def ask_for_export(self, trial: str, ident: str) -> None:
        """Queue a request that has been noted and committed."""
        self.make_export(trial, ident)

    def ask_for_rehearsal(self, trial: str, ident: str) -> None:
        """Queue a rehearsal that has been noted and committed."""
        self.make_rehearsal(trial, ident)

    # --- the worker --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Work until `stop`, in threads; requests that were cut off are queued again first."""
        self._requeue()
        for queue in self.queues:
            worker = threading.Thread(target=self._work, args=(queue,), name=f"{queue.name}-worker", daemon=True)
            worker.start()
            self._workers.append(worker)
        threading.Thread(target=self._sign_daily, name="trialdm-heads", daemon=True).start()
        threading.Thread(target=self._seal, name="trialdm-sealer", daemon=True).start()
        if self.mail_server is not None:
            threading.Thread(target=self._post, args=(self.mail_server,), name="trialdm-post", daemon=True).start()

    def stop(self) -> None:
        """Finish the package in hand and stop; a rehearsal or a mail that was cut off is taken up again another time."""
        self._stopping.set()
        for worker in self._workers:
            worker.join(timeout=30)

    def run_pending(self) -> int:
        """Do everything that is queued, here and now; gives how many jobs that were."""
        done = 0
        for queue in self.queues:
            while (task := queue.dequeue()) is not None:
                queue.execute(task)
                done += 1
        return done

    def _work(self, queue: SqliteHuey) -> None:
        while not self._stopping.is_set():
            try:
                task = queue.dequeue()
            except Exception:  # a busy or closing queue: looked at again in a while
                logging.getLogger("trialdm").exception("fault in the queue %s", queue.name)
                task = None
            if task is None:
                self._stopping.wait(_IDLE_SECONDS)
            else:
                queue.execute(task)

    def sign_heads(self) -> int:
        """Sign the head of every scheme that has moved since yesterday; gives how many were signed."""
        with self.units.reading(SYSTEM) as unit:
            waiting = ledgers.due(unit)
        work = [partial(ledgers.sign_daily, trial=trial, name=name, epoch=epoch) for trial, name, epoch in waiting]
        return sum(self.units.run(SYSTEM, sign) for sign in work)

    def remind(self) -> int:
        """Remind whoever owes something that is due; gives how many reminders were sent."""
        return self.units.run(SYSTEM, clocks.remind_all)

    def reconcile(self) -> dict[str, int]:
        """Make the identity vault agree with what was committed; gives what was done."""
        with self.units.reading(SYSTEM) as unit:
            return identities.reconcile(unit, self.orphan_minutes)

    def give_away(self) -> int:
        """Give the newest checkpoints away as the settings say, once a day; gives in how many ways."""
        folder, done = self.given_away.folder, 0
        with self.units.reading(SYSTEM) as unit:
            to_file = folder is not None and anchors.due(unit, "file")
            by_mail = self.given_away.mail and anchors.due(unit, "mail")
            trials = list(unit.session.scalars(select(Trial.id))) if by_mail else []
        if to_file and folder is not None:
            self.units.run(SYSTEM, partial(anchors.to_file, folder=folder))
            done += 1
        done += sum(self.units.run(SYSTEM, partial(anchors.by_mail, trial=trial)) for trial in trials)
        return done + self.stamp()

    def stamp(self) -> int:
        """Let the newest checkpoints be stamped once a day, where the settings name a service; gives how many were."""
        address, certificates = self.given_away.stamp_address, self.given_away.stamp_certificates
        with self.units.reading(SYSTEM) as unit:
            waiting = stamps.wanted(unit) if address and certificates and anchors.due(unit, stamps.KIND) else {}
        for key, note in waiting.items():
            token = stamps.ask(address, certificates or Path(), note)
            self.units.run(SYSTEM, partial(stamps.keep, key=key, token=token))
        return len(waiting)

    def _seal(self) -> None:
        last = 0
        while not self._stopping.is_set():
            try:
                last = sealing.seal_all(self.units, last).last
            except Exception:
                logging.getLogger("trialdm").exception("fault in the sealing of the audit trail")
            self._stopping.wait(_SEAL_SECONDS)

    def _sign_daily(self) -> None:
        daily = (
            ("signing of heads", self.sign_heads),
            ("reminding of deadlines", self.remind),
            ("giving away of checkpoints", self.give_away),
            ("reconciling of identities", self.reconcile),
        )
        while not self._stopping.is_set():
            for what, work in daily:
                try:
                    work()
                except Exception:
                    logging.getLogger("trialdm").exception("fault in the %s", what)
            self._stopping.wait(_HEADS_SECONDS)

    def _post(self, server: Mail) -> None:
        while not self._stopping.is_set():
            try:
                mail.deliver(self.units, server, self.address)
            except Exception:
                logging.getLogger("trialdm").exception("fault in the delivery of mails")
            self._stopping.wait(_POST_SECONDS)

    def _requeue(self) -> None:
        with self.units.reading(SYSTEM) as unit:
            cut_off = [
                (make, unit.session.execute(select(table.trial_id, table.id).where(table.state.in_(_CUT_OFF))).all())
                for make, table in ((self.make_export, ExportJob), (self.make_rehearsal, RehearsalJob))
            ]
        for queue in self.queues:
            queue.flush()
        for make, rows in cut_off:
            for trial, ident in rows:
                make(trial, ident)

    # --- exports -----------------------------------------------------------------------------------------------------

    def package_folder(self, trial: str, ident: str) -> Path:
        """Where a package lies: under its opaque id."""
        return self.folder / "exports" / trial / ident

    def _make_export(self, trial: str, ident: str) -> None:
        found = self._requester(ExportJob, trial, ident)
        if found is None:
            return
        actor, row = found
        request = packages.request_of(row)
        target = self.package_folder(trial, ident)
        target.parent.mkdir(parents=True, exist_ok=True)

        def note(state: str, step: str = "", message: str = "", manifest: str = "") -> None:
            self.units.run(
                actor,
                lambda unit: packages.advance(unit, trial, ident, state=state, step=step, message=message, manifest_sha256=manifest),
            )

        note("working", "starting")
        try:
            with self.units.reading(actor) as unit:
                manifest = packages.write(unit, trial, target, request)
            self.units.run(actor, lambda unit: packages.record(unit, trial, request, manifest))
            archive = shutil.make_archive(str(target), "zip", target)
            note("done", manifest=hashlib.sha256((target / "manifest.json").read_bytes()).hexdigest(), message=Path(archive).name)
        except TrialError as problem:
            note("failed", message=problem.message)
        except Exception:
            note("failed", message="The export failed by a fault of the program; nothing was released.")
            raise

    # --- rehearsals --------------------------------------------------------------------------------------------------

    def _make_rehearsal(self, trial: str, ident: str) -> None:
        found = self._requester(RehearsalJob, trial, ident)
        if found is None:
            return
        actor, row = found

        def note(state: str, done: int = 0, message: str = "", made: Sequence[Rehearsal] = ()) -> None:
            self.units.run(actor, lambda unit: rehearsals.advance(unit, trial, ident, state=state, done=done, message=message, made=made))

        def tell(done: int, _total: int) -> None:
            if self._stopping.is_set():
                raise _Stopped
            note("working", done)

        note("working")
        try:
            note("done", row.total, made=rehearsals.run(rehearsals.plan_of(row), tell))
        except _Stopped:
            return
        except Exception:
            note("failed", message="The rehearsal failed by a fault of the program; there are no figures.")
            raise

    def _requester(self, table: type[Requested], trial: str, ident: str) -> tuple[Actor, Requested] | None:
        with self.units.reading(SYSTEM) as unit:
            row = unit.session.get(table, (trial, ident))
            account = unit.session.get(Account, row.requested_by) if row else None
            if row is None or account is None or row.state not in _CUT_OFF:
                return None
            return people.actor(unit, account, "worker"), row
