"""The commands about approvals, documents and modifications. Part of the command line."""

from datetime import date
from pathlib import Path
from typing import Any

import click

from trialdm.domain import ethics
from trialdm.domain.ethics import Approval, Condition, Document, Modification, Step
from trialdm.domain.ethics.modifications import CATEGORIES, CHANGES, CLASSES, LEGACY_CLASSES, SITE_STEPS, STEPS
from trialdm.domain.protocol import NATIONS
from trialdm.services import approvals, modifications
from trialdm.services.approvals import Letter
from trialdm.services.unit import Unit
from trialdm.terminal import PATH, Terminal, bytes_of, day, pass_terminal

_ON = click.option("--on", callback=day, help="A day; today where left out.")
_SHA256 = click.option("--sha256", default="", help="Digest of the letter, as its sender gave it: the file must match.")
_NATION = click.option("--nation", "nations", multiple=True, type=click.Choice(tuple(NATIONS)), help="All where left out; several times.")


def _letter(path: Path | None, sha256: str = "") -> Letter | None:
    """The file that a command names, with the digest that was given for it."""
    if path is None:
        return Letter("", b"", sha256) if sha256 else None
    return Letter(path.name, bytes_of(path), sha256)


# --- decisions -------------------------------------------------------------------------------------------------------


@click.group("approval")
def approval_group() -> None:
    """Decisions of committees, authorities, sponsor and sites."""


@approval_group.command("list")
@click.argument("trial")
@click.option("--waiting", is_flag=True, help="Only what waits for the check of a second person.")
@pass_terminal
def approval_list(terminal: Terminal, trial: str, waiting: bool) -> None:
    """Every decision on record, in the order of recording, with its number."""
    rows = [row for row in terminal.read(lambda unit: approvals.listed(unit, trial)) if row["waits_for_check"] or not waiting]
    words = (
        f"{r['number']:>5}  {r['from'] or '':10}  {r['body']:16} {r['site']:4} {r['status'].replace('_', ' ')} {r['ref']}"
        + ("  waits for a second person" if r["waits_for_check"] else "")
        for r in rows
    )
    terminal.say(rows, "\n".join(words) or "None.")


@approval_group.command("record")
@click.argument("trial")
@click.argument("body", type=click.Choice(tuple(ethics.BODIES)))
@click.argument("status")
@click.option("--ref", default="", help="Reference of the body.")
@click.option("--site", default="", help="Site, for decisions about one.")
@_NATION
@click.option("--submitted", callback=day, help="Day of submission.")
@click.option("--decided", callback=day, help="The day on the letter.")
@click.option("--from", "effective_from", callback=day, help="In force from, where that is another day.")
@click.option("--to", "effective_to", callback=day, help="Last day, where there is one.")
@click.option("--agreement", callback=day, help="Day on which the agreement was signed, for capacity and capability.")
@click.option("--before-start", multiple=True, help="A condition that must be met before the start; several times.")
@click.option("--condition", multiple=True, help="A condition that holds during the trial; several times.")
@click.option("--covers", multiple=True, type=click.Choice(tuple(ethics.COVERS)), help="What an opinion covers beyond the usual.")
@click.option("--supersedes", default="", help="Reference of the decision that this one replaces.")
@click.option("--letter", type=PATH, help="The letter, to be kept.")
@_SHA256
@pass_terminal
def approval_record(terminal: Terminal, trial: str, body: str, status: str, letter: Path | None, sha256: str, **said: Any) -> None:
    """Record a decision, as its letter says it. An opinion and a green light count once a second person has checked them."""
    new = Approval(
        body,
        status,
        said["ref"],
        tuple(said["nations"]),
        said["site"],
        submitted_on=said["submitted"],
        decided_on=said["decided"],
        effective_from=said["effective_from"],
        effective_to=said["effective_to"],
        agreement_signed_on=said["agreement"],
        conditions=(*(Condition(text, True) for text in said["before_start"]), *(Condition(text) for text in said["condition"])),
        supersedes=said["supersedes"],
        covers=tuple(said["covers"]),
    )
    kept = _letter(letter, sha256)

    def work(unit: Unit) -> dict[str, Any]:
        return approvals.describe(unit, approvals.one(unit, trial, approvals.record(unit, trial, new, kept)))

    made = terminal.change(work)
    waits = " It waits for the check of a second person." if made["waits_for_check"] else ""
    terminal.say(made, f"Recorded as number {made['number']}.{waits}")


@approval_group.command("check")
@click.argument("trial")
@click.argument("number", type=int)
@pass_terminal
def approval_check(terminal: Terminal, trial: str, number: int) -> None:
    """Confirm, as the second person, that a decision is recorded as its letter says."""
    terminal.change(lambda unit: approvals.check(unit, trial, number))
    terminal.say({"number": number, "waits_for_check": False}, f"Checked: number {number} counts now.")


@approval_group.command("meet")
@click.argument("trial")
@click.argument("number", type=int)
@click.argument("condition", type=click.IntRange(min=1))
@click.option("--on", callback=day, required=True, help="The day on which it was met.")
@click.option("--evidence", default="", help="What shows it, in words.")
@click.option("--letter", type=PATH, help="The file that shows it, to be kept.")
@pass_terminal
def approval_meet(terminal: Terminal, trial: str, number: int, condition: int, on: date, evidence: str, letter: Path | None) -> None:
    """Record how a condition of a decision was met; conditions count from 1."""
    kept = _letter(letter)
    terminal.change(lambda unit: approvals.meet(unit, trial, number, condition - 1, on, evidence, kept))
    terminal.say({"number": number, "condition": condition, "met_on": on.isoformat()}, "Recorded.")


# --- documents -------------------------------------------------------------------------------------------------------


@click.group("document")
def document_group() -> None:
    """Versions of information sheets, consent forms and other documents."""


@document_group.command("list")
@click.argument("trial")
@pass_terminal
def document_list(terminal: Terminal, trial: str) -> None:
    """Every version of a document, with the day from which each site uses it."""
    rows = terminal.read(lambda unit: approvals.documents(unit, trial))
    words = (
        f"{r['kind']:13} {r['code']:>3}  v{r['version']:6} approved {r['approved_on'] or '-':10}  {r['modification']}"
        + (f"  revoked {r['revoked_on']}" if r["revoked_on"] else "")
        for r in rows
    )
    terminal.say(rows, "\n".join(line.rstrip() for line in words) or "None.")


@document_group.command("record")
@click.argument("trial")
@click.argument("kind", type=click.Choice(ethics.DOCUMENT_KINDS))
@click.argument("version")
@click.option("--dated", required=True, callback=day, help="Date on the document.")
@click.option("--approved", callback=day, help="Day of its approval, where it did not come with a modification.")
@click.option("--from", "effective_from", required=True, callback=day, help="First day at any site.")
@click.option("--modification", default="", help="The modification that it came with: it is approved with it.")
@click.option("--reconsent", default="", type=click.Choice(("", "warn", "block")), help="What those do who consented on an earlier one.")
@_NATION
@click.option("--file", "path", type=PATH, help="The document, to be kept.")
@_SHA256
@pass_terminal
def document_record(terminal: Terminal, trial: str, kind: str, version: str, path: Path | None, sha256: str, **said: Any) -> None:
    """Record a version of a document."""
    kept = _letter(path, sha256)

    def work(unit: Unit) -> int:
        code = approvals.next_code(unit, trial, kind)
        new = Document(
            kind,
            code,
            version.removeprefix("v"),
            said["dated"],
            said["approved"],
            said["effective_from"],
            nations=tuple(said["nations"]) or tuple(NATIONS),
            modification=said["modification"],
            reconsent=said["reconsent"],
        )
        approvals.record(unit, trial, new, kept)
        return code

    code = terminal.change(work)
    terminal.say({"kind": kind, "code": code, "version": version}, f"Recorded {kind} {code}, version {version}.")


@document_group.command("take-up")
@click.argument("trial")
@click.argument("kind", type=click.Choice(ethics.DOCUMENT_KINDS))
@click.argument("code", type=int)
@click.option("--site", required=True, help="The site.")
@_ON
@pass_terminal
def document_take_up(terminal: Terminal, trial: str, kind: str, code: int, site: str, on: date | None) -> None:
    """Record from which day a site uses a version."""

    def work(unit: Unit) -> date:
        first = on or unit.today
        approvals.take_up(unit, trial, kind, code, site, first)
        return first

    first = terminal.change(work)
    terminal.say({"kind": kind, "code": code, "site": site, "from": first.isoformat()}, f"Site {site} uses {kind} {code} from {first} on.")


@document_group.command("revoke")
@click.argument("trial")
@click.argument("kind", type=click.Choice(ethics.DOCUMENT_KINDS))
@click.argument("code", type=int)
@_ON
@click.option("--reason", required=True, help="Why it is taken out of use.")
@pass_terminal
def document_revoke(terminal: Terminal, trial: str, kind: str, code: int, on: date | None, reason: str) -> None:
    """Take a version out of use everywhere, from a day on."""

    def work(unit: Unit) -> date:
        first = on or unit.today
        approvals.revoke(unit, trial, kind, code, first, reason)
        return first

    first = terminal.change(work)
    terminal.say({"kind": kind, "code": code, "revoked_on": first.isoformat()}, f"{kind} {code} is out of use from {first} on.")


# --- modifications ---------------------------------------------------------------------------------------------------


@click.group("modification")
def modification_group() -> None:
    """Modifications of the approved study."""


@modification_group.command("list")
@click.argument("trial")
@pass_terminal
def modification_list(terminal: Terminal, trial: str) -> None:
    """Every modification as it stands today, with its state at each site."""
    rows = terminal.read(lambda unit: modifications.listed(unit, trial))
    words = (
        f"{r['ref']:8} {r['class']:17} {r['category']}  {r['state'].replace('_', ' '):20} "
        f"in practice at {list(r['sites'].values()).count('implemented')} of {len(r['sites'])} sites  {r['title']}"
        for r in rows
    )
    terminal.say(rows, "\n".join(words) or "None.")


@modification_group.command("propose")
@click.argument("trial")
@click.argument("ref")
@click.option("--title", required=True, help="What changes, in a sentence.")
@click.option("--change", "changes", multiple=True, required=True, type=click.Choice(tuple(CHANGES)), help="Several times.")
@click.option("--class", "kind", required=True, type=click.Choice(tuple(CLASSES)))
@click.option("--category", required=True, type=click.Choice(tuple(CATEGORIES)), help="Category of the sites.")
@click.option("--tool", type=PATH, required=True, help="Output of the Modification Tool, to be kept.")
@click.option("--justification", default="", help="Why the class is a lighter one than the changes usually have.")
@click.option("--legacy-class", "legacy", default="", type=click.Choice(("", *LEGACY_CLASSES)), help="Class that the older form asks for.")
@click.option("--version", "proposes", default="", help="Version of the protocol that comes with it; 'protocol load' it before.")
@click.option("--document", "documents", multiple=True, help="A document that comes with it, as KIND:CODE; several times.")
@pass_terminal
def modification_propose(terminal: Terminal, trial: str, ref: str, tool: Path, documents: tuple[str, ...], **said: Any) -> None:
    """Record a modification with its class and the output of the Modification Tool."""
    named, kept = tuple(_document(text) for text in documents), _letter(tool)

    def work(unit: Unit) -> None:
        modifications.propose(unit, trial, Modification(ref=ref, created_on=unit.today, documents=named, **said), kept)

    terminal.change(work)
    terminal.say({"ref": ref, "state": "classified"}, f"Recorded {ref}. The next step is 'submit'.")


def _document(text: str) -> tuple[str, int]:
    """A document as KIND:CODE."""
    kind, _, code = text.partition(":")
    if not code.isdecimal():
        raise click.BadParameter(f"'{text}' is not a document such as ICF:3")
    return kind, int(code)


@modification_group.command("step")
@click.argument("trial")
@click.argument("ref")
@click.argument("event", type=click.Choice((*STEPS, *SITE_STEPS)))
@click.option("--site", default="", help="The site, for notify, agree, object and implement.")
@_ON
@click.option("--note", default="", help="Letter or reference.")
@pass_terminal
def modification_step(terminal: Terminal, trial: str, ref: str, event: str, site: str, on: date | None, note: str) -> None:
    """Record what happened to a modification: at the committee, or at a site."""

    def work(unit: Unit) -> str:
        taken = Step(event, on or unit.today, site, note=note)
        modifications.step(unit, trial, ref, taken)
        found = modifications.one(unit, trial, ref)
        return found.site_state(site, taken.on) if site else found.state(taken.on)

    state = terminal.change(work)
    where = f" at site {site}" if site else ""
    terminal.say({"ref": ref, "site": site, "state": state}, f"{ref} is now {state.replace('_', ' ')}{where}.")
