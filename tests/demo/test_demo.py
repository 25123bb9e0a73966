"""The demonstration: made through the services, the same for a seed and a day, and honest about being one."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.demonstration import TODAY, made, sign_ins
from trialdm import instance as instances
from trialdm import settings
from trialdm.cli import run
from trialdm.demo import audit, build
from trialdm.domain import roles
from trialdm.services import (
    chains,
    double_entry,
    governance,
    overview,
    packages,
    participants,
    people,
    queries,
    schemes,
    sessions,
    tokens,
    trail,
)
from trialdm.services.packages import Request
from trialdm.services.unit import SYSTEM


@pytest.fixture(scope="module")
def demo(demonstration: Path, tmp_path_factory: pytest.TempPathFactory) -> instances.Instance:
    folder = tmp_path_factory.mktemp("demo") / "one"
    shutil.copytree(demonstration, folder)
    return made(folder)


def test_there_is_an_account_with_password_and_token_for_every_role(demo: instances.Instance) -> None:
    rows = sign_ins(demo)
    assert {row["role"] for row in rows} == set(roles.ROLES)
    assert all(set(row) == {"email", "password", "role", "site", "token"} for row in rows)
    one = next(row for row in rows if row["role"] == "research-nurse")
    with demo.units.reading(SYSTEM) as unit:
        assert tokens.account_of(unit, one["token"])[0].email == one["email"]
    assert demo.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, one["email"], one["password"]))


def test_an_unfinished_one_is_built_anew_with_the_same_data_and_another_seed_gives_others(
    demo: instances.Instance, demonstration: Path, tmp_path: Path
) -> None:
    def package(instance: instances.Instance, name: str) -> dict[str, Any]:
        email = next(row["email"] for row in sign_ins(instance) if row["role"] == "statistician-blinded")
        with instance.units.reading(SYSTEM) as unit:
            actor = people.actor(unit, people.by_email(unit, email), "test")
        with instance.units.reading(actor) as unit:
            return packages.write(unit, build.TRIAL, tmp_path / name, Request(formats=("csv",)))

    first = package(demo, "a")
    shutil.copytree(demonstration, tmp_path / "cut off")
    (tmp_path / "cut off" / build.SIGN_INS).unlink()
    again = package(made(tmp_path / "cut off"), "b")
    other = package(made(tmp_path / "three", seed=2), "c")
    assert first == again
    assert first["tables"] != other["tables"]


def test_everything_in_it_was_audited_and_the_allocations_hang_together(demo: instances.Instance) -> None:
    with demo.units.reading(SYSTEM) as unit:
        assert trail.verify(unit) > 3000
        assert chains.verify_chain(unit, build.TRIAL) > 3
        assert schemes.status(unit, build.TRIAL)["world"] == "test"


def test_the_treatment_pathway_is_audited_with_a_gap_and_an_overdue_review(demo: instances.Instance) -> None:
    with demo.units.reading(SYSTEM) as unit:
        actor = people.actor(unit, people.by_email(unit, "sponsor@demo.example"), "test")
    with demo.units.reading(actor) as unit:
        found = {site.code: governance.organisation(unit, audit.AUDIT, site.code) for site in governance.organisations(unit, audit.AUDIT)}
        cases = participants.listed(unit, audit.AUDIT)
        assert trail.verify(unit) > 1000
    assert (len(cases), {state for _, state in cases}) == (60, {"operated", "follow_up"})
    assert {site: one.unaudited for site, one in found.items()} == {"S01": 0, "S02": 2, "S03": 0}
    late = {site for site, one in found.items() for due in one.deadlines if due.rule == "GOV-57" and not due.done and due.late(TODAY)}
    assert late == {"S03"}
    first = {role: next(row for row in sign_ins(demo) if row["role"] == role) for role in ("auditor", "governance-lead")}
    assert {row["site"] for row in first.values()} == {"S01"}


def test_somebody_is_ready_to_be_randomised(demo: instances.Instance) -> None:
    email = next(row["email"] for row in sign_ins(demo) if row["role"] == "trial-coordinator")
    with demo.units.reading(SYSTEM) as unit:
        actor = people.actor(unit, people.by_email(unit, email), "test")
    with demo.units.reading(actor) as unit:
        waiting = [task.participant for task in overview.tasks(unit, build.TRIAL) if task.kind == "randomise"]
        assert waiting
        answer = participants.gate(unit, build.TRIAL, "randomise", participant=waiting[0])
    assert answer.allowed, [reason.message for reason in answer.reasons]


def test_a_second_start_finds_it(demo: instances.Instance) -> None:
    before = sign_ins(demo)
    assert sign_ins(made(demo.settings.folder)) == before


def test_it_never_replaces_an_instance_that_is_not_a_demonstration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instances.create(tmp_path / "real").engine.dispose()
    assert run(["--instance", str(tmp_path / "real"), "demo", "--no-serve", "--fresh"]) == 2
    assert settings.exists(tmp_path / "real")
    assert "not a demonstration" in capsys.readouterr().err


def test_some_forms_wait_for_a_second_entry_and_some_differ(demo: instances.Instance) -> None:
    with demo.units.reading(SYSTEM) as unit:
        actor = people.actor(unit, people.by_email(unit, "data@demo.example"), "test")
    with demo.units.reading(actor) as unit:
        assert {(line.next, line.differ, line.yours) for line in double_entry.listed(unit, build.TRIAL)} == {
            ("second", 0, True),
            ("settle", 1, False),
        }


def test_every_site_with_participants_has_open_queries_and_one_that_was_closed(demo: instances.Instance) -> None:
    manager = next(row["email"] for row in sign_ins(demo) if row["role"] == "data-manager")
    with demo.units.reading(SYSTEM) as unit:
        actor = people.actor(unit, people.by_email(unit, manager), "test")
    with demo.units.reading(actor) as unit:
        lines = queries.listed(unit, build.TRIAL)
        asked = {line.site for line in lines}
        for site in asked:
            states = sorted(line.state for line in lines if line.site == site)
            assert states.count("open") == 2, site
        assert {line.state for line in lines} == {"open", "answered", "closed"}
        assert len(asked) > 2
