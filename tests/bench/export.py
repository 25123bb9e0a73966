"""From the database to a `.sav` file: 100,000 form rows of 40 items, beside the naive path and beside polars writing CSV."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import insert, select

from tests.bench import export_files
from tests.bench.worlds import line, seconds
from trialdm import instance as instances
from trialdm.domain.crf import Form
from trialdm.domain.protocol import Protocol, Scheme, Site, Visit
from trialdm.exports import dataset, sav
from trialdm.exports.dataset import StoredRow, Table
from trialdm.instance import Instance
from trialdm.services import packages
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import FormInstance, FormVersion, Participant, Trial

TRIAL = "bench"


def run() -> None:
    """Print the time of each path and its ratio to the same extraction written as CSV by polars."""
    with tempfile.TemporaryDirectory() as folder:
        instance = instances.create(Path(folder) / "instance")
        stored = export_files.rows()
        _fill(instance, stored)
        form = Form("BENCH", "Benchmark", "outcome", tuple(export_files.items()), visits={f"V{i:02d}": "required" for i in range(10)})
        protocol = _protocol(form, stored)
        table = dataset.form_table(protocol, form, blinded=True)
        paths: dict[str, Callable[[], None]] = {
            "polars, CSV": lambda: _frame(instance, protocol, form, table).values.write_csv(Path(folder) / "a.csv"),
            "trialdm, .sav": lambda: sav.write(Path(folder) / "a.sav", _frame(instance, protocol, form, table), as_of=export_files.AS_OF),
            "naive, .sav": lambda: export_files.naive(table, _naive_rows(instance), Path(folder) / "b.sav"),
        }
        taken = {name: seconds(work) for name, work in paths.items()}
        line(f"database to file, {len(stored):,} rows x {len(form.items)} items")
        for name, value in taken.items():
            beside = f"{value / taken['polars, CSV']:5.2f} x polars CSV   {taken['naive, .sav'] / value:5.1f} x faster than naive"
            line(f"{name:28} {value:6.2f} s   {beside}")
    export_files.run()


def _protocol(form: Form, stored: list[StoredRow]) -> Protocol:
    sites = tuple(Site(code, code, "ENG") for code in sorted({row.site for row in stored}))
    visits = tuple(Visit(code, i, code, "event") for i, code in enumerate(form.visits))
    return Protocol(
        TRIAL, "1", "Bench", "Bench", "non-ctimp", "prospective", "none", "site-held", 1, 1, (), sites, visits, (form,), {},
        Scheme("main", "simple", ()),
    )  # fmt: skip


def _frame(instance: Instance, protocol: Protocol, form: Form, table: Table) -> dataset.Frame:
    with instance.units.reading(SYSTEM) as unit:
        return dataset.frame(table, packages._form_rows(unit, protocol, form, True, export_files.AS_OF, {}))


def _naive_rows(instance: Instance) -> list[StoredRow]:
    """Every row as an object, one after the other."""
    with instance.units.reading(SYSTEM) as unit:
        versions = unit.session.scalars(select(FormVersion)).all()
        places = {row.id: row for row in unit.session.scalars(select(FormInstance))}
        found = []
        for version in versions:
            at = places[version.instance_id]
            found.append(
                StoredRow(
                    at.participant_id, "S00", at.visit, int(at.visit[1:]), at.row, at.status, version.seq, version.saved_at, version.data
                )
            )
    return found


def _fill(instance: Instance, stored: list[StoredRow]) -> None:
    people = {row.participant: row.site for row in stored}
    with instance.engine.begin() as connection:
        connection.execute(insert(Trial), [{"id": TRIAL, "created_at": export_files.AS_OF, "created_by": "x"}])
        connection.execute(
            insert(Participant),
            [
                {"trial_id": TRIAL, "id": ident, "site": site, "number": n, "added_at": export_files.AS_OF, "added_by": "x"}
                for n, (ident, site) in enumerate(people.items())
            ],
        )
        about = {"trial_id": TRIAL, "status": "complete", "seq": 1}
        connection.execute(
            insert(FormInstance),
            [
                {**about, "id": f"f{n}", "participant_id": row.participant, "visit": row.visit, "form": "BENCH", "row": 1, "restricted": 0}
                for n, row in enumerate(stored)
            ],
        )
        saved = {
            "definition_seq": 1,
            "saved_at": export_files.AS_OF,
            "saved_by": "x",
            "reason_code": "",
            "reason_text": "",
            "confirmed": "",
        }
        connection.execute(
            insert(FormVersion), [{**about, **saved, "instance_id": f"f{n}", "data": row.data} for n, row in enumerate(stored)]
        )
