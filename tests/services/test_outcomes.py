"""Reports of the treatment pathway: who reads what, what is not shown, and that no trial is among them."""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.builders import TRIAL, World
from tests.conftest import Template
from tests.pathway import AUDIT, case, followed, notified, operated
from trialdm.documents import page
from trialdm.domain.errors import Forbidden, Missing, TrialError, WrongState
from trialdm.services import outcomes
from trialdm.services.unit import Unit

FIRST = date(2025, 9, 1)


def cases_of_autumn(world: World) -> None:
    """Twelve cases of one clinician and two of another at S01, of whom six and one had an infection; one case at S02."""
    days = [FIRST + timedelta(days=4 * i) for i in range(12)]
    notified(notified(world), "S02")
    for i, day in enumerate(days):
        ident = case(world)
        operated(world, ident, day)
        followed(world, ident, "M03", day + timedelta(days=91), au2_infx=int(i < 6), au2_rlp=i % 5)
    for i, day in enumerate(days[:2]):
        ident = case(world, name="second")
        operated(world, ident, day, name="second")
        followed(world, ident, "M03", day + timedelta(days=91), name="second", au2_infx=int(i < 1))
    operated(world, case(world, "S02"), FIRST, site="S02")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def autumn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Template:
    template: Template = request.getfixturevalue(f"{request.param}_audit_template")
    return template.after(cases_of_autumn, tmp_path_factory.mktemp("autumn") / "instance")


@pytest.fixture
def audit(autumn: Template, tmp_path: Path) -> Iterator[World]:
    yield from autumn.lent(tmp_path / "instance")


def board(audit: World, name: str, site: str = "S01") -> outcomes.Dashboard:
    return audit.read(name, lambda unit: outcomes.dashboard(unit, AUDIT), site)


def test_a_clinician_reads_the_own_cases_beside_the_organisation_and_nothing_that_tells_of_a_few_others(audit: World) -> None:
    found = board(audit, "auditor")
    assert [(part.title, len(part.cases)) for part in found.parts] == [
        ("Your cases at S01", 12),
        ("All cases of Northbridge Royal Infirmary (S01)", 14),
    ]
    own, whole = ({name: (count, of) for name, count, of in part.safety} for part in found.parts)
    assert own["Infection"] == ("6", 12)
    assert whole["Infection"] == ("fewer than 5", 14)
    assert [one.change is None for one in found.parts[1].changes if one.month == 3] == [True, True, True]
    assert "S01" in found.funnel.left_out
    assert found.courses == []
    assert [name for _, _, name in found.operates] == ["Auditor S01"]


def test_a_lead_reads_everything_of_the_organisation_and_the_sponsor_of_all(audit: World) -> None:
    lead = board(audit, "lead")
    assert [len(part.cases) for part in lead.parts] == [14]
    assert {name: count for name, count, _ in lead.parts[0].safety}["Infection"] == "7"
    assert [(place.site, place.tally.events) for place in lead.funnel.places] == [("S01", 7)]
    assert [len(course.values) for course in lead.courses] == [14]
    assert sorted(number for _, number, _ in lead.operates) == [1, 2]
    month = next(one for one in lead.parts[0].changes if one.month == 3)
    assert (month.cases, month.before) == (14, 8)
    assert [len(part.cases) for part in board(audit, "sponsor-of-audit").parts] == [14, 1, 0]
    assert [len(part.cases) for part in board(audit, "lead", "S02").parts] == [1]


def test_the_minimum_set_is_a_table_of_the_cases_that_one_sees(audit: World) -> None:
    def rows(name: str, site: str = "S01") -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(audit.run(name, lambda unit: outcomes.minimum_set(unit, AUDIT), site))))

    lead = rows("lead")
    assert (len(lead), len(rows("auditor")), len(rows("second")), len(rows("lead", "S02"))) == (14, 12, 2, 1)
    assert len(rows("sponsor-of-audit")) == 15
    first = lead[0]
    assert (first["organisation"], first["audit_id"], first["procedure_date"]) == ("S01", "S01-A-0001", "2025-09-01")
    assert (first["rlp_before"], first["m3_rlp"], first["m3_infection"], first["m6_rlp"]) == ("8", "0", "1", "")
    assert first["treatments_tried"] == "3 5 20"


def test_the_appraisal_report_sets_the_own_cases_beside_the_organisation(audit: World) -> None:
    found = audit.run("auditor", lambda unit: outcomes.appraisal(unit, AUDIT, 1), "S01")
    text = page.html(found)
    assert "Not for use to compare arms of the trial." in text
    assert "12 audited procedures" in text
    assert "fewer than 5" in text
    assert page.html(audit.run("lead", lambda unit: outcomes.appraisal(unit, AUDIT, 1), "S01")) == text


def test_the_review_pack_has_agenda_open_actions_guidance_and_completeness(audit: World) -> None:
    text = page.html(audit.run("lead", lambda unit: outcomes.review_pack(unit, AUDIT, "S01"), "S01"))
    for words in ("Agenda", "No action is open.", "Interventional procedures guidance 804 (final)", "Is everybody audited?", "2025-09"):
        assert words in text


def test_what_is_refused(audit: World) -> None:
    def refusal(name: str, work: object, site: str = "S01") -> type[TrialError]:
        with pytest.raises(TrialError) as found:
            audit.run(name, work, site)  # type: ignore[arg-type]
        return type(found.value)

    def trial(unit: Unit) -> object:
        return outcomes.dashboard(unit, TRIAL)

    assert refusal("lead", trial) is WrongState
    assert refusal("lead", lambda unit: outcomes.minimum_set(unit, TRIAL)) is WrongState
    assert refusal("lead", lambda unit: outcomes.appraisal(unit, TRIAL, 1)) is WrongState
    assert refusal("lead", lambda unit: outcomes.review_pack(unit, TRIAL, "S01")) is WrongState
    assert refusal("second", lambda unit: outcomes.appraisal(unit, AUDIT, 1)) is Forbidden
    assert refusal("lead", lambda unit: outcomes.appraisal(unit, AUDIT, 1), "S02") is Forbidden
    assert refusal("lead", lambda unit: outcomes.appraisal(unit, AUDIT, 9)) is Missing
    assert refusal("auditor", lambda unit: outcomes.review_pack(unit, AUDIT, "S01")) is Forbidden
    assert refusal("lead", lambda unit: outcomes.review_pack(unit, AUDIT, "S02")) is Forbidden
    for role in ("trial-manager", "research-nurse", "statistician-unblinded", "chief-investigator"):
        assert refusal(role, lambda unit: outcomes.dashboard(unit, AUDIT)) is Forbidden
        assert refusal(role, lambda unit: outcomes.minimum_set(unit, AUDIT)) is Forbidden
