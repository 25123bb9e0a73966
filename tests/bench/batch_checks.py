"""All edit checks over 100,000 saved forms, beside reading the same rows and giving their answers their types."""

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import insert, select

from tests import builders
from tests.bench.worlds import each_database, line, seconds
from tests.builders import TRIAL, World
from trialdm.demo import figures
from trialdm.domain.crf import Context, Form
from trialdm.services import casebooks, checks, studies
from trialdm.services.checks import Outcome
from trialdm.services.unit import Unit
from trialdm.store.tables import FormInstance, FormVersion, Participant

COUNT = 100_000

#: Different sets of answers of each form: so that no run of equal forms makes it easy.
_VARIANTS = 12

_CODES = ("PAIN", "EQ5D", "MOOD", "ANLG", "FUNL", "VISI", "PGIC", "CLIN", "DEMO", "SURG")


def run() -> None:
    """Print forms a second, and the ratio to reading and typing them."""
    with each_database() as worlds:
        for name, world in worlds:
            made = world.run("data-manager", _fill)
            found: list[Outcome] = []
            typing = seconds(lambda world=world: world.read("unblinded-data-manager", _typed))
            dry = seconds(lambda world=world, found=found: found.append(_checked(world, dry=True)))
            beside = f"{dry / typing:5.2f} x reading and typing ({made / typing:7.0f}/s)"
            line(f"batch-checks, {name}: {made:,} forms in {dry:6.1f} s, {made / dry:6.0f}/s, {beside}")
            wet = seconds(lambda world=world, found=found: found.append(_checked(world, dry=False)))
            line(f"batch-checks, {name}: with {found[-1].opened:,} queries opened {wet:6.1f} s")


def _checked(world: World, *, dry: bool) -> Outcome:
    work = world.read if dry else world.run
    return work("unblinded-data-manager", lambda unit: checks.run(unit, TRIAL, site="S01", dry=dry))


def _typed(unit: Unit) -> int:
    """The reference: the same rows, read in the same parts, their JSON parsed and every answer typed."""
    protocol, count = studies.protocol(unit, TRIAL), 0
    people = unit.session.scalars(select(Participant).where(Participant.trial_id == TRIAL, Participant.site == "S01")).all()
    for start in range(0, len(people), 200):
        for book in casebooks.whole(unit, TRIAL, people[start : start + 200]).values():
            for (_, code, _), stored in book.forms.items():
                stored.answers(protocol.form(code))
                count += 1
    return count


def _fill(unit: Unit) -> int:
    """Participants at S01 with forms of every kind, written as the service would have left them."""
    protocol, rng = studies.protocol(unit, TRIAL), random.Random(5)
    places = [(visit, protocol.form(code)) for code in _CODES for visit in protocol.form(code).visits]
    texts = {(visit, form.code): [_answers(form, visit, rng) for _ in range(_VARIANTS)] for visit, form in places}
    people = COUNT // len(places)
    for start in range(0, people, 100):
        part = [f"bench {number:06d}" for number in range(start, min(start + 100, people))]
        entries = [{"trial_id": TRIAL, "id": i, "site": "S01", "number": int(i[6:]) + 1} for i in part]
        unit.session.execute(insert(Participant), [{**one, "added_at": unit.now, "added_by": "bench"} for one in entries])
        rows = list(_rows(unit, part, places, texts, rng))
        unit.session.execute(insert(FormInstance), [instance for instance, _ in rows])
        unit.session.execute(insert(FormVersion), [version for _, version in rows])
    return people * len(places)


def _answers(form: Form, visit: str, rng: random.Random) -> str:
    """Plausible answers, some of which break a check."""
    filled = figures.fill(form, Context({"visit": visit, "today": builders.TODAY}), rng, {})
    return json.dumps({"answers": filled.answers, "missing": filled.missing})


def _rows(
    unit: Unit, part: list[str], places: list[tuple[str, Form]], texts: dict[tuple[str, str], list[str]], rng: random.Random
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for ident in part:
        for visit, form in places:
            key = {"trial_id": TRIAL, "seq": 1, "status": "complete"}
            instance = uuid.UUID(int=rng.getrandbits(128)).hex
            about = {"participant_id": ident, "visit": visit, "form": form.code, "row": 1, "restricted": int(form.restricted)}
            saved = {"saved_at": unit.now, "saved_by": "bench", "reason_code": "", "reason_text": "", "confirmed": ""}
            data = rng.choice(texts[(visit, form.code)])
            yield {**key, "id": instance, **about}, {**key, "instance_id": instance, "definition_seq": 1, "data": data, **saved}
