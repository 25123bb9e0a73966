"""Reports for those who oversee a trial: approvals and documents (RP-13), training and delegation (RP-14). Neither names an arm."""

from collections.abc import Iterator
from datetime import date, timedelta

from trialdm.documents.page import Block, Document, Facts, Rows, Section, Words
from trialdm.domain import ethics, roles
from trialdm.domain.ethics import Register
from trialdm.domain.ethics.deadline import STATES
from trialdm.domain.protocol import Protocol
from trialdm.services import approvals, clocks, delegations, modifications, register, studies
from trialdm.services.unit import LONDON, Unit

#: Days before its end from which an approval is listed as ending: as training is.
_ENDING = delegations.SOON


def _as_of(unit: Unit, words: str) -> str:
    return f"{words} As of {unit.now.astimezone(LONDON):%d %B %Y, %H:%M}."


def _table(caption: str, columns: tuple[str, ...], rows: list[tuple[str, ...]], none: str) -> Block:
    """A table, or a sentence where it would have no row."""
    return Rows(caption, columns, rows) if rows else Words(f"{caption}: {none}")


# --- RP-13 -----------------------------------------------------------------------------------------------------------


def approvals_and_documents(unit: Unit, trial: str) -> Document:
    """RP-13: what stands, which version each site uses, what ends, which conditions are open, and the next deadlines."""
    unit.require("approvals.see", trial)
    protocol, on_record = studies.protocol(unit, trial), register.read(unit, trial)
    return Document(
        f"{protocol.short_title}: approvals and documents",
        _as_of(unit, "RP-13, for the sponsor, the trial manager and inspectors."),
        (
            Section("Approvals", tuple(_standing(unit, trial))),
            Section("Sites and the versions they use", (_versions(unit, protocol, on_record),)),
            Section("What ends, and what is open", tuple(_open(unit, trial, on_record))),
            Section("Modifications", (_modified(unit, trial),)),
            Section("Next deadlines", (_due(unit, trial),)),
        ),
    )


def _standing(unit: Unit, trial: str) -> Iterator[Block]:
    rows = [row for row in approvals.as_of(unit, trial, unit.today) if not row["site"] and row["status"] != "not recorded"]
    yield _table(
        "Decisions about the whole trial",
        ("Body", "Decision", "In force", "Reference", "From", "To"),
        [
            (
                ethics.BODY_NAMES[row["body"]],
                row["status"].replace("_", " "),
                "yes" if row["in_force"] else "no",
                row["ref"],
                row["from"] or "",
                row["to"] or "",
            )
            for row in rows
        ],
        "none on record.",
    )
    missing = [name for body, name in ethics.BODY_NAMES.items() if body not in ethics.SITE_BODIES | {row["body"] for row in rows}]
    yield Facts((("Not on record", ", ".join(missing) or "nothing"),))


def _versions(unit: Unit, protocol: Protocol, on_record: Register) -> Block:
    used = [kind for kind in ethics.DOCUMENT_KINDS if any(d.kind == kind for d in on_record.documents)]
    rows: list[tuple[str, ...]] = []
    for site in protocol.sites:
        light = on_record.standing("site_greenlight", unit.today, site=site.code)
        cells = [f"{light.starts}" if light else "no", studies.protocol_at(unit, protocol.id, site.code).version]
        for kind in used:
            current = on_record.current_document(kind, site, unit.today)
            cells.append(f"v{current.version}, from {on_record.starts_at(current, site)}" if current else "none")
        rows.append((f"{site.code} {site.name}", *cells))
    columns = ("Site", "Green light", "Works with version", *(ethics.DOCUMENT_NAMES[kind] for kind in used))
    return Rows("Sites", columns, rows)


def _open(unit: Unit, trial: str, on_record: Register) -> Iterator[Block]:
    last = unit.today + timedelta(days=_ENDING)
    ending = [a for a in on_record.approvals if a.status in ethics.GOOD and a.effective_to and a.effective_to <= last]
    standing = [a for a in ending if a == on_record.latest(a.body, unit.today, site=a.site)]
    yield _table(
        f"Approvals that end within {_ENDING} days or have ended",
        ("Approval", "Reference", "Last day"),
        [(_named(a.body, a.site), a.ref, str(a.effective_to)) for a in standing],
        "none.",
    )
    yield _table(
        "Decisions that wait for the check of a second person",
        ("Decision", "Reference", "Decided"),
        [(_named(a.body, a.site), a.ref, str(a.starts)) for a in approvals.waiting(unit, trial)],
        "none.",
    )
    yield _table(
        "Conditions",
        ("Condition", "Of", "Before the start", "Met", "Evidence"),
        [
            (c.text, f"{_named(a.body, a.site)} {a.ref}".strip(), "yes" if c.pre_start else "no", str(c.met_on or "no"), c.evidence)
            for a in on_record.approvals
            for c in a.conditions
        ],
        "none.",
    )


def _named(body: str, site: str) -> str:
    return ethics.BODY_NAMES[body] + (f", site {site}" if site else "")


def _modified(unit: Unit, trial: str) -> Block:
    rows = modifications.listed(unit, trial)
    return _table(
        "Modifications",
        ("Reference", "What", "Class", "Category", "State", "In practice at"),
        [
            (
                row["ref"],
                row["title"],
                row["class"].replace("_", " "),
                row["category"],
                row["state"].replace("_", " "),
                ", ".join(site for site, state in row["sites"].items() if state == "implemented") or "no site",
            )
            for row in rows
        ],
        "none.",
    )


def _due(unit: Unit, trial: str) -> Block:
    now = clocks.now(unit)
    return _table(
        "Deadlines that are not met",
        ("Deadline", "Rule", "Due", "State", "Owners", "Site"),
        [
            (
                d.title,
                d.rule,
                d.last_day.isoformat(),
                STATES[d.state(now)],
                ", ".join(roles.ROLES[owner][0] for owner in d.owners) or "the person",
                d.site,
            )
            for d in clocks.listed(unit, trial)
            if d.done is None
        ],
        "none.",
    )


# --- RP-14 -----------------------------------------------------------------------------------------------------------


def training_and_delegation(unit: Unit, trial: str) -> Document:
    """RP-14: what runs out within 30 and 60 days, tasks for which a site has nobody, lines that wait, and all training.

    Only the sites that the reader sees. Raises Forbidden for who does not read the delegation log.
    """
    protocol = studies.protocol(unit, trial)
    found = delegations.expiring(unit, trial)
    ending = [e for e in found if e.kind != "gap"]
    bands: dict[str, list[tuple[str, ...]]] = {band: [] for band in ("over", "30", "60")}
    for entry in ending:
        bands[entry.urgency].append((entry.name, entry.site or "whole trial", entry.kind, entry.what, entry.ends.isoformat()))
    captions = {"over": "Run out", "30": f"Within {delegations.VERY_SOON} days", "60": f"Within {delegations.SOON} days"}
    columns = ("Person", "Site", "Kind", "What", "Last day")
    gaps: list[tuple[str, ...]] = [(e.site, e.what, _since(e.ends + timedelta(days=1), unit.today)) for e in found if e.kind == "gap"]
    log = delegations.log(unit, trial)
    waiting: list[tuple[str, ...]] = [
        (
            line.name,
            line.site or "whole trial",
            ", ".join(roles.TASKS[task] for task in line.tasks),
            delegations.STATES[line.state(unit.today)],
        )
        for line in log
        if line.state(unit.today) in delegations.WAITING
    ]
    trained: list[tuple[str, ...]] = [
        (t.name, ", ".join(site or "whole trial" for site in t.sites), t.what, t.on.isoformat(), t.until.isoformat() if t.until else "")
        for t in delegations.trainings(unit, trial)
    ]
    return Document(
        f"{protocol.short_title}: training and delegation",
        _as_of(unit, "RP-14, for the trial manager and principal investigators."),
        (
            Section("What runs out", tuple(_table(captions[band], columns, rows, "nothing.") for band, rows in bands.items())),
            Section("Gaps", (_table("Tasks for which an open site has nobody", ("Site", "Task", "From"), gaps, "none."),)),
            Section(
                "Lines that wait", (_table("Lines of the delegation log that wait", ("Person", "Site", "Tasks", "For"), waiting, "none."),)
            ),
            Section(
                "Training and credentials", (_table("Newest of each kind", ("Person", "Sites", "What", "On", "Until"), trained, "none."),)
            ),
        ),
    )


def _since(day: date, today: date) -> str:
    return "now" if day <= today else day.isoformat()
