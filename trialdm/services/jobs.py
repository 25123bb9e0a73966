"""Work in the background: making a requested package. The queue is a small SQLite file beside the instance (huey).

A job that was cut off is not lost: the request stands in the database, and it is queued again when the worker starts.
"""

import hashlib
import shutil
import threading
from pathlib import Path

from huey import SqliteHuey
from huey.api import Task, TaskWrapper
from sqlalchemy import select

from trialdm.domain.errors import TrialError
from trialdm.services import packages, people
from trialdm.services.unit import SYSTEM, Actor, Units
from trialdm.store.tables import Account, ExportJob

_IDLE_SECONDS = 0.5


class Jobs:
    """The queue of one instance, and its worker."""

    def __init__(self, units: Units, folder: Path) -> None:
        self.units, self.folder = units, folder
        self.queue = SqliteHuey("trialdm", filename=str(folder / "jobs.db"), results=False)
        self.make_export: TaskWrapper = self.queue.task(name="make_export")(self._make_export)
        self._stopping = threading.Event()
        self._worker: threading.Thread | None = None

    def ask_for_export(self, trial: str, ident: str) -> None:
        """Queue a request that has been noted and committed."""
        self.make_export(trial, ident)

    # --- the worker --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Work until `stop`, in a thread; requests that were cut off are queued again first."""
        self._requeue()
        self._worker = threading.Thread(target=self._work, name="trialdm-worker", daemon=True)
        self._worker.start()

    def stop(self) -> None:
        """Finish the job in hand and stop."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.join(timeout=30)

    def run_pending(self) -> int:
        """Do everything that is queued, here and now; gives how many jobs that were."""
        done = 0
        while (task := self.queue.dequeue()) is not None:
            self._execute(task)
            done += 1
        return done

    def _work(self) -> None:
        while not self._stopping.is_set():
            task = self.queue.dequeue()
            if task is None:
                self._stopping.wait(_IDLE_SECONDS)
            else:
                self._execute(task)

    def _execute(self, task: Task) -> None:
        self.queue.execute(task)

    def _requeue(self) -> None:
        with self.units.reading(SYSTEM) as unit:
            cut_off = unit.session.execute(
                select(ExportJob.trial_id, ExportJob.id).where(ExportJob.state.in_(("waiting", "working")))
            ).all()
        self.queue.flush()
        for trial, ident in cut_off:
            self.make_export(trial, ident)

    # --- exports -----------------------------------------------------------------------------------------------------

    def package_folder(self, trial: str, ident: str) -> Path:
        """Where a package lies: under its opaque id."""
        return self.folder / "exports" / trial / ident

    def _make_export(self, trial: str, ident: str) -> None:
        found = self._requester(trial, ident)
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

    def _requester(self, trial: str, ident: str) -> tuple[Actor, ExportJob] | None:
        with self.units.reading(SYSTEM) as unit:
            row = unit.session.get(ExportJob, (trial, ident))
            account = unit.session.get(Account, row.requested_by) if row else None
            if row is None or account is None or row.state not in ("waiting", "working"):
                return None
            return people.actor(unit, account, "worker"), row
