"""One participant's way through the trial, from screening to the last visit that has come.

A journey is a generator of acts: on which day, by which role, and what is done. It goes on with what the services answered,
so that the arm is known only after the randomisation. Deliberate dirt lies on a few journeys: an average above the worst
score, the wrong side, visits out of window, a late serious event, a consent on a superseded form.
"""

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from typing import Protocol as Shape

from trialdm.demo import figures
from trialdm.domain.protocol import Protocol, Site


class Stage(Shape):
    """What an act may use: the moment, and the services behind it."""

    @property
    def now(self) -> datetime: ...

    def add(self, site: str) -> str: ...

    def save(self, participant: str, form: str, visit: str, given: Mapping[str, Any], row: int = 1) -> None: ...

    def randomise(self, participant: str, key: str) -> int: ...

    def confirm(self, participant: str, side: int, limb: int, level: int) -> None: ...

    def transfer(self, participant: str) -> str: ...

    def staff(self, role: str, site: str) -> int: ...

    def document(self, kind: str, site: str, day: date) -> int: ...


@dataclass(frozen=True)
class Act:
    """Something that somebody does on a day."""

    day: date
    role: str
    do: Callable[[Stage], Any]


Journey = Generator[Act, Any, None]


@dataclass
class Person:
    """A simulated person: what is drawn once and stays."""

    rng: random.Random
    site: Site
    surgeon: int
    screened: date
    number: int
    fate: str = "enters"
    dirt: frozenset[str] = frozenset()
    id: str = ""
    limb: int = 1
    side: int = 1
    cause: int = 1
    level: int = 12
    age: int = 60
    sex: int = 2
    opioid: bool = False
    pain_before: int = 6
    arm: int = 0
    residual: int = 0
    phantom: int = 0
    operated: date | None = None
    consent_form: int = 0
    events: list[str] = field(default_factory=list)

    def draw(self) -> "Person":
        """Draw the person."""
        rng = self.rng
        self.limb = 2 if rng.random() < figures.UPPER_LIMB else 1
        self.side = rng.choice((1, 2))
        self.cause = figures.weighted(rng, figures.CAUSES[self.limb])
        self.level = figures.weighted(rng, figures.LEVELS[self.limb])
        self.age = round(figures.normal(rng, *figures.AGE[self.limb], 18, 94))
        self.sex = 1 if rng.random() < figures.FEMALE[self.limb] else 2
        self.opioid = rng.random() < figures.OPIOID_BEFORE[self.limb]
        self.pain_before = round(figures.normal(rng, *figures.PAIN_BEFORE[self.limb], 0, 10))
        return self

    @property
    def cause_group(self) -> int:
        return 1 if self.cause in (1, 2, 3, 4) else 2 if self.cause == 5 else 3


def weekday(day: date) -> date:
    """The day, or the Monday after a weekend."""
    return day + timedelta(days={5: 2, 6: 1}.get(day.weekday(), 0))


def journey(person: Person, protocol: Protocol) -> Journey:
    """Everything that happens to one person, in order of time."""
    rng = person.rng
    if person.fate == "not entered":
        yield Act(person.screened, "research-nurse", lambda stage: _screen_only(stage, person))
        return
    consented = weekday(person.screened + timedelta(days=rng.randint(1, 5)))
    planned = weekday(consented + timedelta(days=rng.randint(3, 11)))
    if person.fate == "waits":
        planned = weekday(consented + timedelta(days=rng.randint(7, 11)))
    yield Act(consented, "research-nurse", lambda stage: _baseline(stage, person, planned))
    yield Act(consented, "sub-investigator", lambda stage: _eligibility(stage, person))
    if person.fate == "not eligible":
        return
    if "old consent form" in person.dirt:
        again = weekday(consented + timedelta(days=1))
        yield Act(again, "research-nurse", lambda stage: _consent_again(stage, person))
    allocated = weekday(max(consented + timedelta(days=1), planned - timedelta(days=rng.randint(1, 3))))
    if person.fate == "waits":
        allocated = planned
    if allocated > planned:
        planned = allocated
    who = "trial-coordinator" if rng.random() < 0.5 else "research-nurse"
    person.arm = yield Act(allocated, who, lambda stage: stage.randomise(person.id, f"demo-{person.number}"))
    person.residual = figures.pain_at_a_year(rng, figures.RESIDUAL_PAIN[person.arm])
    person.phantom = figures.pain_at_a_year(rng, figures.PHANTOM_PAIN[person.arm])
    person.operated = planned
    yield Act(planned, "surgeon", lambda stage: _operation(stage, person))
    yield Act(planned, "research-nurse", lambda stage: _visit_form(stage, person, "V02"))
    discharge = weekday(planned + timedelta(days=rng.randint(5, 24)))
    yield Act(discharge, "research-nurse", lambda stage: _discharge(stage, person))
    yield from _follow_up(person, protocol, planned)


# --- before the operation --------------------------------------------------------------------------------------------


def _screening(person: Person, *, entered: bool) -> dict[str, Any]:
    bands = ((40, 1), (60, 2), (75, 3))
    given: dict[str, Any] = {
        "scr_date": person.screened.isoformat(),
        "scr_age_band": next((band for below, band in bands if person.age < below), 4),
        "scr_sex": person.sex,
        "scr_limb": person.limb,
        "scr_aetiol": person.cause,
        "scr_eligible": 1,
        "scr_approached": 1,
        "scr_consented": int(entered),
        "scr_decl_txt": None,
    }
    if not entered:
        given["scr_reason"] = [person.rng.choice((3, 3, 4, 5))]
    return given


def _screen_only(stage: Stage, person: Person) -> None:
    person.id = stage.add(person.site.code)
    stage.save(person.id, "SCRN", "V00", _screening(person, entered=False))


def _consent(stage: Stage, person: Person, *, day: date, superseded: bool = False) -> dict[str, Any]:
    codes = {kind: stage.document(kind, person.site.code, day) for kind in ("PIS", "ICF")}
    if superseded:
        codes = {kind: max(code - 1, 1) for kind, code in codes.items()}
    at, person.consent_form = stage.now - timedelta(minutes=45), codes["ICF"]
    return {
        "con_pis_ver": codes["PIS"],
        "con_pis_date": person.screened.isoformat(),
        "con_icf_ver": codes["ICF"],
        "con_dtm": at.isoformat(timespec="minutes"),
        "con_route": 1,
        "con_capacity": 1,
        "con_taker": stage.staff("research-nurse", person.site.code),
        "con_lang": 2 if person.site.nation == "WAL" and person.rng.random() < 0.3 else 1,
        "con_recons": 1,
        "con_m_followup": 1,
        "con_m_linkage": int(person.rng.random() < 0.9),
        "con_m_share": int(person.rng.random() < 0.85),
        "con_m_contact": int(person.rng.random() < 0.8),
        "con_m_gp": 1,
        "con_copy": 1,
    }


def _baseline(stage: Stage, person: Person, planned: date) -> None:
    person.id = stage.add(person.site.code)
    day = stage.now.date()
    stage.save(person.id, "CONS", "V01", _consent(stage, person, day=day, superseded="old consent form" in person.dirt))
    stage.save(person.id, "SCRN", "V00", _screening(person, entered=True))
    rng = person.rng
    height = figures.normal(rng, 172 if person.sex == 2 else 160, 8, 140, 205)
    mass = figures.normal(rng, 29, 6, 17, 48) * (height / 100) ** 2
    stage.save(
        person.id,
        "CLIN",
        "V01",
        {
            "limb": person.limb,
            "side": person.side,
            "amp_level_plan": person.level,
            "aetiol_main": person.cause,
            "aetiol_other": None,
            "cancer_site": "soft tissue sarcoma",
            "dm_type": 2 if person.cause == 3 or rng.random() < figures.DIABETES[person.limb] else 0,
            "dm_hba1c": lambda: round(figures.normal(rng, 62, 14, 35, 118)),
            "dm_neurop": rng.choice((0, 0, 1)),
            "pad": 1 if person.cause in (1, 2) or rng.random() < 0.3 else 0,
            "ckd": rng.choice((0, 0, 0, 1, 1, 2, 3)),
            "asa": rng.choice((2, 3, 3, 3, 4)),
            "cci": round(figures.normal(rng, 5, 2, 0, 12)),
            "prev_amp_oth": 0,
            "opioid_pre": int(person.opioid),
            "pain_dur_mo": round(figures.normal(rng, 14, 12, 0, 120)),
            "surg_date_plan": planned.isoformat(),
            "surgeon_plan": person.surgeon,
        },
    )
    stage.save(
        person.id,
        "DEMO",
        "V01",
        {
            "age_years": person.age,
            "birth_ym": None,
            "sex": person.sex,
            "ethnic": rng.choice((4, 4, 4, 4, 4, 1, 2, 3)),
            "height_cm": f"{height:.1f}",
            "weight_kg": f"{min(max(mass, 41), 179):.1f}",
            "employ": 3 if person.age > 66 else rng.choice((1, 2, 4)),
        },
    )
    average = min(person.pain_before, max(person.pain_before - rng.randint(0, 3), 0))
    stage.save(person.id, "PAIN", "V01", {"limb_worst": person.pain_before, "limb_avg": average, "pain_assist": 1})
    _medicines(stage, person, "V01", person.opioid)
    _questionnaires(stage, person, "V01")
    _visit_form(stage, person, "V01")


def _eligibility(stage: Stage, person: Person) -> None:
    given: dict[str, Any] = {"exc09_preg": 0}
    given |= dict.fromkeys(
        (
            "inc01_age18 inc02_major_amp inc03_primary_amp inc04_aetiol inc05_ga_fit inc06_prognosis inc07_surgeon inc08_consent inc09_pro"
        ).split(),
        1,
    )
    given |= dict.fromkeys(
        "exc01_emerg exc02_nerve exc03_reg exc04_prevpain exc05_infx exc06_prevtmr exc07_bilat exc08_coenrol exc10_cogn coenrol".split(), 0
    )
    if person.fate == "not eligible":
        given["inc05_ga_fit"] = 0
    stage.save(person.id, "ELIG", "V01", given)


def _consent_again(stage: Stage, person: Person) -> None:
    stage.save(person.id, "CONS", "EV", _consent(stage, person, day=stage.now.date()))


# --- the operation ---------------------------------------------------------------------------------------------------


def _operation(stage: Stage, person: Person) -> None:
    rng, transfers = person.rng, person.arm == 1
    if transfers and rng.random() < figures.NOT_DELIVERED:
        transfers = False
    minutes = figures.normal(rng, *figures.OPERATION[person.limb], 45, 240)
    if transfers:
        minutes += figures.normal(rng, *figures.TRANSFERS_ADD[person.limb], 25, 220)
    start = 8 * 60 + 40
    end = start + round(minutes)
    side = 3 - person.side if "wrong side" in person.dirt else person.side
    given: dict[str, Any] = {
        "surg_done": 1,
        "surg_date": stage.now.date().isoformat(),
        "surg_level": person.level,
        "surg_side": side,
        "proc_given": 1 if transfers else 2,
        "proc_diff": rng.choice((1, 3, 5)),
        "anaes": rng.choice((1, 1, 1, 4, 2)),
        "time_in": "08:10",
        "time_ks": f"{start // 60:02d}:{start % 60:02d}",
        "time_ke": f"{end // 60:02d}:{end % 60:02d}",
        "nerve_min": round(minutes / 3) if transfers else None,
        "ebl_ml": round(figures.normal(rng, 320, 220, 20, 1400)),
        "transf_u": rng.choice((0, 0, 0, 0, 1, 2)),
        "surg_amp": 1,
        "surg_nrv": 1,
        "surg_spec": 1,
        "surg_tmr_n": 6 + person.number // 8,
        "surg_id": person.surgeon,
        "stim_used": 1 if transfers else 0,
        "magn": rng.choice((1, 2)) if transfers else 0,
        "magn_x": "3.5",
        "closure": 1,
        "abx": 1,
        "intraop_comp": [0],
        "accid_unblind": 0,
    }
    stage.confirm(person.id, person.side, person.limb, person.level)
    stage.save(person.id, "SURG", "V02", given)
    for row, nerve in enumerate(_NERVES[_region(person)], 1):
        stage.save(person.id, "NERV", "V02", _nerve(person, nerve, transfers), row)


#: Nerves looked for, by region of the amputation, each with muscles that can take it.
_NERVES: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {
    "below knee": ((2, (1, 2)), (4, (4, 9)), (5, (6,)), (6, (3,))),
    "above knee": ((2, (11, 10)), (3, (12,))),
    "below elbow": ((21, (39,)), (22, (37,)), (24, (36,))),
    "above elbow": ((21, (31,)), (22, (33,)), (23, (34,))),
}


def _region(person: Person) -> str:
    if person.limb == 1:
        return "below knee" if person.level in (11, 12) else "above knee"
    return "below elbow" if person.level in (21, 22) else "above elbow"


def _nerve(person: Person, nerve: tuple[int, tuple[int, ...]], transfers: bool) -> dict[str, Any]:
    rng = person.rng
    technique = rng.choice((1, 1, 1, 1, 1, 2)) if transfers else rng.choice((4, 4, 5))
    return {
        "nv_nerve": nerve[0],
        "nv_found": 1,
        "nv_tech": technique,
        "nv_reason": 1 if transfers else 5,
        "nv_prep": 1,
        "nv_diam": f"{figures.normal(rng, 5, 1.5, 2, 12):.1f}",
        "nv_muscle": rng.choice(nerve[1]),
        "nv_motor_id": 1,
        "nv_stim_ma": f"{figures.normal(rng, 1, 0.4, 0.2, 3):.1f}",
        "nv_nonfunc": 1,
        "nv_recdiam": f"{figures.normal(rng, 1.2, 0.3, 0.5, 3):.1f}",
        "nv_coapt": 1,
        "nv_suture": rng.choice((1, 2, 2)),
        "nv_sutmat": 1,
        "nv_tension": 1,
    }


# --- after the operation ---------------------------------------------------------------------------------------------


def _discharge(stage: Stage, person: Person) -> None:
    stage.save(
        person.id,
        "DISC",
        "V03",
        {"dis_date": stage.now.date().isoformat(), "dis_dest": person.rng.choice((1, 1, 2, 2, 3)), "icu_days": 0, "dis_ome": None},
    )
    _pain(stage, person, "V03")
    _medicines(stage, person, "V03", person.opioid or person.rng.random() < 0.4)
    _questionnaires(stage, person, "V03")
    _wound(stage, person, "V03")
    _visit_form(stage, person, "V03")


def _follow_up(person: Person, protocol: Protocol, operated: date) -> Journey:
    rng = person.rng
    dies = _day_of_death(person, operated)
    leaves = operated + timedelta(days=rng.randint(40, 500)) if rng.random() < figures.WITHDRAWAL else None
    lost = operated + timedelta(days=rng.randint(120, 500)) if leaves is None and rng.random() < figures.LOST else None
    events = sorted(_events(person, protocol, operated), key=lambda event: event.day)
    for visit in protocol.visits:
        if visit.kind != "scheduled" or visit.target is None:
            continue
        day = _visit_day(person, visit.code, operated + timedelta(days=visit.target), visit.before, visit.after)
        while events and events[0].day <= day:
            if dies is None or events[0].day < dies:
                yield events[0]
            events.pop(0)
        for when, code in ((dies, "died"), (leaves, "left"), (lost, "lost")):
            if when is not None and when <= day:
                yield Act(weekday(when + timedelta(days=1)), "research-nurse", _ending(person, code, when))
                return
        if rng.random() < figures.VISIT_MISSED[visit.code]:
            yield Act(weekday(day + timedelta(days=visit.after)), "research-nurse", _missed(person, visit.code))
            continue
        yield Act(day, "research-nurse", _reported(person, visit.code))
        who = "blinded-assessor" if visit.blinded_assessor else "research-nurse"
        yield Act(day, who, _assessed(person, visit.code))


def _day_of_death(person: Person, operated: date) -> date | None:
    chance = figures.DEATH[person.cause_group] if person.limb == 1 else 0.03
    return operated + timedelta(days=person.rng.randint(20, 365)) if person.rng.random() < chance else None


def _visit_day(person: Person, visit: str, target: date, before: int, after: int) -> date:
    """A weekday around the target; with dirt on the journey, one visit lies out of its window."""
    if "out of window" in person.dirt and visit == "V05":
        return weekday(target + timedelta(days=after + 6))
    return weekday(target + timedelta(days=person.rng.randint(-min(before, 9), min(after, 9) - 2)))


def _ending(person: Person, how: str, day: date) -> Callable[[Stage], None]:
    def do(stage: Stage) -> None:
        if how == "died":
            stage.save(person.id, "DETH", "EV", {"dth_date": day.isoformat(), "dth_cause": person.rng.choice((1, 2, 3, 5))})
        else:
            status = 4 if how == "lost" else person.rng.choice((1, 2, 2, 3))
            stage.save(person.id, "STAT", "EV", {"st_status": status, "st_date": day.isoformat(), "st_reason": None})

    return do


def _missed(person: Person, visit: str) -> Callable[[Stage], None]:
    given = {"vs_done": 0, "vs_notdone": person.rng.choice((1, 2, 3, 3))}
    return lambda stage: stage.save(person.id, "VISI", visit, given)


def _reported(person: Person, visit: str) -> Callable[[Stage], None]:
    """What the participant reports: ratings, diary, medicines and questionnaires. Most consent again first where a new form asks for it."""

    def do(stage: Stage) -> None:
        newer = stage.document("ICF", person.site.code, stage.now.date()) > person.consent_form
        if newer and person.number % 4:
            _consent_again(stage, person)
        _visit_form(stage, person, visit)
        _pain(stage, person, visit)
        _diary(stage, person, visit)
        opioid = person.rng.random() < (0.35 if person.opioid else 0.12)
        _medicines(stage, person, visit, opioid)
        _questionnaires(stage, person, visit)

    return do


def _assessed(person: Person, visit: str) -> Callable[[Stage], None]:
    """What the assessor finds: function, wound, examination, and what both believe about the allocation."""

    def do(stage: Stage) -> None:
        stage.save(person.id, "FUNL" if person.limb == 1 else "FUNU", visit, _function(stage, person))
        if visit in ("V04", "V06", "V07", "V09"):
            _wound(stage, person, visit)
            stage.save(
                person.id,
                "NEUR",
                visit,
                {
                    "ne_done": 1,
                    "ne_tinel": person.rng.choice((0, 0, 0, 1)),
                    "ne_imaging": 0,
                    "ne_unmask": 0,
                    "ne_nerve": 2 if person.limb == 1 else 21,
                },
            )
        if visit in ("V04", "V07"):
            stage.save(person.id, "BLND", visit, _beliefs(person))
        if visit in ("V06", "V07", "V09"):
            stage.save(person.id, "PGIC", visit, {})

    return do


def _beliefs(person: Person) -> dict[str, Any]:
    """What participant and assessor believe about the allocation, and why: somebody is told now and then."""
    rng = person.rng
    given: dict[str, Any] = {}
    for who in ("p", "a"):
        given[f"bl_guess_{who}"] = rng.choice((1, 2, 98, 98))
        given[f"bl_src_{who}"] = figures.weighted(rng, {1: 70, 2: 24, 5: 4, 3: 2})
    return given


def _function(stage: Stage, person: Person) -> dict[str, Any]:
    fitted = (person.operated or stage.now.date()) + timedelta(days=30)
    since = min(fitted, stage.now.date()).isoformat()
    return {
        "pros_date": since,
        "pros_status": person.rng.choice((1, 2, 5, 5)),
        "up_status": person.rng.choice((1, 5)),
        "pros_days": 6,
        "pros_hrs": "7.5",
    }


def _pain(stage: Stage, person: Person, visit: str) -> None:
    rng = person.rng
    given: dict[str, Any] = {"plp_sens": int(rng.random() < 0.6), "pain_assist": 1}
    for kind, level in (("rlp", person.residual), ("plp", person.phantom)):
        worst = figures.pain_now(rng, level, visit)
        average = max(worst - rng.randint(1, 3), 0)
        if "average above worst" in person.dirt and kind == "rlp" and visit == "V04" and 0 < worst < 10:
            average = worst + 1
        given |= {
            f"{kind}_any": int(worst > 0),
            f"{kind}_worst": worst,
            f"{kind}_avg": average,
            f"{kind}_now": max(min(worst, average) - rng.randint(0, 2), 0),
            f"{kind}_least": 0,
        }
    stage.save(person.id, "PAIN", visit, given)


def _diary(stage: Stage, person: Person, visit: str) -> None:
    rng, today = person.rng, stage.now.date()
    row = 0
    for day in range(1, 8):
        if rng.random() < 0.1:
            continue
        row += 1
        given = {
            "dia_day": day,
            "dia_date": (today - timedelta(days=8 - day)).isoformat(),
            "dia_rlp": figures.pain_now(rng, person.residual, visit),
            "dia_plp": figures.pain_now(rng, person.phantom, visit),
        }
        stage.save(person.id, "DIAR", visit, given, row)


def _medicines(stage: Stage, person: Person, visit: str, opioid: bool) -> None:
    rng = person.rng
    rows: list[dict[str, Any]] = []
    if opioid:
        code, drug, dose = rng.choice(((1, "codeine", 120), (3, "tramadol", 200), (5, "oxycodone", 30), (6, "morphine", 40)))
        rows.append({"an_class": 7 if code in (1, 3) else 8, "an_drug": drug, "an_opioid": code, "an_dose": str(dose), "an_unit": 1})
    if rng.random() < 0.5:
        rows.append({"an_class": 3, "an_drug": rng.choice(("gabapentin", "pregabalin"))})
    if rng.random() < 0.45:
        rows.append({"an_class": 1, "an_drug": "paracetamol"})
    if not rows:
        stage.save(person.id, "ANLG", visit, {"an_any": 0})
    for number, row in enumerate(rows, 1):
        given = {"an_any": 1, "an_route": 1, "an_days7": rng.choice((7, 7, 7, 5, 3)), **row}
        stage.save(person.id, "ANLG", visit, given, number)


def _questionnaires(stage: Stage, person: Person, visit: str) -> None:
    stage.save(person.id, "EQ5D", visit, {})
    calm = {f"phq_{i}": person.rng.choice((0, 0, 1, 1, 2)) for i in range(1, 9)} | {"phq_9": int(person.rng.random() < 0.02)}
    calm |= {f"gad_{i}": person.rng.choice((0, 0, 0, 1, 2)) for i in range(1, 8)}
    if visit in ("V01", "V06", "V07", "V09"):
        stage.save(person.id, "MOOD", visit, calm)
    if visit in ("V06", "V07", "V09"):
        stage.save(person.id, "NPQ", visit, {})
    if visit not in ("V01", "V03"):
        for row, frame in enumerate((1, 2), 1):
            stage.save(person.id, "PRPI", visit, {"prpi_frame": frame}, row)
            stage.save(person.id, "PRIF", visit, {"prif_frame": frame}, row)
            if visit != "V04":
                stage.save(person.id, "PRPB", visit, {"prpb_frame": frame}, row)


def _wound(stage: Stage, person: Person, visit: str) -> None:
    rng = person.rng
    delayed = visit in ("V03", "V04") and rng.random() < figures.WOUND_DELAY[person.arm]
    infected = visit == "V04" and "infection" in person.events
    given = {
        "w_state": 2 if delayed else 1 if visit == "V03" else 0,
        "w_heal_date": min((person.operated or stage.now.date()) + timedelta(days=21), stage.now.date()).isoformat(),
        "w_ssi": 1 if infected else 0,
        "w_bleed": 0,
        "w_abx": int(infected),
        "w_readm": 0,
        "w_reop": int("reoperation" in person.events and visit == "V06"),
        "cd_worst": rng.choice((0, 0, 0, 1)),
    }
    stage.save(person.id, "WOUN", visit, given)


def _visit_form(stage: Stage, person: Person, visit: str) -> None:
    given = {"vs_done": 1, "vs_date": stage.now.date().isoformat(), "vs_mode": 3 if visit in ("V05", "V08") else 1}
    given["vs_assessor"] = stage.staff("blinded-assessor", person.site.code)
    stage.save(person.id, "VISI", visit, given)


# --- events ----------------------------------------------------------------------------------------------------------


def _events(person: Person, protocol: Protocol, operated: date) -> list[Act]:
    rng = person.rng
    acts: list[Act] = []
    if rng.random() < figures.INFECTION[person.limb]:
        person.events.append("infection")
        start = operated + timedelta(days=rng.randint(5, 28))
        serious = rng.random() < 0.3 or "late serious event" in person.dirt
        acts.append(Act(weekday(start + timedelta(days=2)), "research-nurse", _infection(person, start, serious)))
    if rng.random() < figures.REOPERATION[person.arm]:
        person.events.append("reoperation")
        day = operated + timedelta(days=rng.randint(20, 170))
        given = {
            "re_date": day.isoformat(),
            "re_type": [rng.choice((1, 1, 2, 3))],
            "re_ind": rng.choice((1, 1, 3, 6)),
            "re_planned": 0,
            "re_crossover": 0,
        }
        acts.append(Act(weekday(day), "surgeon", lambda stage: stage.save(person.id, "REOP", "EV", given)))
    if "moves house" in person.dirt:
        acts.append(Act(weekday(operated + timedelta(days=60)), "trial-manager", _move(person, protocol)))
    return acts


def _move(person: Person, protocol: Protocol) -> Callable[[Stage], None]:
    """Another site takes over, where one is open."""

    def do(stage: Stage) -> None:
        person.site = protocol.site(stage.transfer(person.id))

    return do


def _infection(person: Person, start: date, serious: bool) -> Callable[[Stage], None]:
    def do(stage: Stage) -> None:
        event = {
            "ae_term": "Surgical site infection of the residual limb",
            "ae_aesi": 3,
            "ae_start": start.isoformat(),
            "ae_end": stage.now.date().isoformat(),
            "ae_ongoing": 1,
            "ae_sev": 3 if serious else 2,
            "ae_cd": 3 if serious else 2,
            "ae_ser": int(serious),
            "ae_outc": 3,
        }
        stage.save(person.id, "AE", "EV", event)
        if serious:
            late = timedelta(days=3) if "late serious event" in person.dirt else timedelta(hours=5)
            aware = stage.now - late
            report = {
                "sae_ae_no": 1,
                "sae_crit": [3],
                "sae_aware": aware.isoformat(timespec="minutes"),
                "sae_reported": stage.now.isoformat(timespec="minutes"),
            }
            stage.save(person.id, "SAE", "EV", report)

    return do
