"""The commands about forms: reading, saving, importing, signing, verifying, taking out rows, freezing and locking."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trialdm.documents import page as documents
from trialdm.documents.page import Document
from trialdm.domain import errors, lifecycle
from trialdm.domain.signing import Act
from trialdm.services import casebooks, holds, imports, participants, places, records, removals, signatures, studies, verification
from trialdm.services.records import Submission
from trialdm.services.unit import Unit
from trialdm.terminal import PATH, Terminal, pass_terminal, text_of, write_bytes
from trialdm.web import paper


def _at_a_form(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments by which a command names a form of a participant, and its row."""
    command = click.option("--row", default=1, show_default=True)(command)
    for name in ("form", "visit", "participant", "trial"):
        command = click.argument(name)(command)
    return command


@click.group("form")
def form_group() -> None:
    """Forms."""


@form_group.command("get")
@_at_a_form
@pass_terminal
def form_get(terminal: Terminal, trial: str, participant: str, visit: str, form: str, row: int) -> None:
    """A form as the account may see it."""
    found = terminal.read(lambda unit: records.view(unit, places.locate(unit, trial, participant, visit, form, row)).to_json())
    terminal.say(found)


@form_group.command("put")
@click.argument("trial")
@click.argument("participant")
@click.argument("visit")
@click.argument("form")
@click.argument("file", type=PATH)
@click.option("--row", default=1, show_default=True)
@click.option("--version", type=int, help="The version that the change starts from; the newest where left out.")
@pass_terminal
def form_put(terminal: Terminal, trial: str, participant: str, visit: str, form: str, file: Path, row: int, version: int | None) -> None:
    """Save a form from a JSON file with the body of the API."""
    sent = _submission(file)

    def work(unit: Unit) -> dict[str, Any]:
        place = places.locate(unit, trial, participant, visit, form, row)
        start = version if version is not None else records.view(unit, place).version
        return records.save(unit, place, Submission(**{**vars(sent), "version": start})).to_json()

    saved = terminal.change(work)
    terminal.say(saved, f"Saved {form.upper()} at {visit} as version {saved['version']} ({saved['status']}).")


def _submission(file: Path) -> Submission:
    try:
        body = json.loads(text_of(file))
    except json.JSONDecodeError as problem:
        raise errors.Invalid(f"{file}:{problem.lineno}: not JSON: {problem.msg}.", code="FILE.JSON") from None
    return records.submission(body)


@click.command("import")
@click.argument("trial")
@click.argument("form")
@click.argument("file", type=PATH)
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--reason", default="", help="Reason for changing forms that are complete.")
@pass_terminal
def import_form(terminal: Terminal, trial: str, form: str, file: Path, dry_run: bool, reason: str) -> None:
    """Import a CSV file into a form: all rows or none."""
    text = text_of(file)
    if dry_run:
        outcome = imports.tried(terminal.change, trial, form, text, reason=reason)
    else:
        outcome = terminal.change(lambda unit: imports.load(unit, trial, form, text, reason=reason))
    lines = [f"row {c.row}, column {c.column}: '{c.value}': {c.message}" for c in (*outcome.errors, *outcome.warnings)]
    did = "Would save" if dry_run else "Saved"
    terminal.say(outcome.to_json(), "\n".join([*lines, f"{did} {outcome.saved} of {outcome.rows} rows; {outcome.unchanged} unchanged."]))
    if outcome.errors:
        raise click.exceptions.Exit(2)


# --- on paper --------------------------------------------------------------------------------------------------------

#: Ends of file names in which documents are written.
_DOCUMENTS = (".html", ".htm", ".pdf")


def _document_file(_context: Any, _option: Any, out: Path) -> Path:
    """The name of a document to write, before anything is made for it."""
    if out.suffix.lower() not in _DOCUMENTS:
        raise click.BadParameter(f"'{out}' must end in .html, .htm or .pdf: nothing else is written")
    return out


_OUT = click.option("--out", required=True, type=PATH, callback=_document_file, help="File to write: .html or .pdf.")


def _write(terminal: Terminal, out: Path, document: Document) -> None:
    text = documents.html(document)
    write_bytes(out, documents.pdf(text) if out.suffix.lower() == ".pdf" else text.encode())
    terminal.say({"file": str(out), "title": document.title}, f"Wrote {document.title} to {out}.")


@form_group.command("print")
@click.argument("trial")
@click.option("--form", default="", help="One form; all of them where left out.")
@click.option("--visit", default="", help="The forms of this visit.")
@click.option("--participant", default="", help="What is saved of a participant; blank forms where left out.")
@click.option("--row", type=int, help="One row of the form.")
@click.option("--audit", is_flag=True, help="With the audit trail of each form.")
@_OUT
@pass_terminal
def form_print(terminal: Terminal, trial: str, form: str, visit: str, participant: str, row: int | None, audit: bool, out: Path) -> None:
    """Forms to print: blank, or as they are saved of a participant."""
    if (audit or row) and not participant:
        raise click.UsageError("--row and --audit belong to --participant: a blank form has neither.")

    def work(unit: Unit) -> Document:
        if not participant:
            return paper.blank(unit, trial, form, visit)
        return paper.filled(unit, trial, participant, visit=visit, form=form, row=row, audit=audit)

    _write(terminal, out, terminal.read(work))


@form_group.command("annotated")
@click.argument("trial")
@click.option("--form", default="", help="One form; all of them where left out.")
@_OUT
@pass_terminal
def form_annotated(terminal: Terminal, trial: str, form: str, out: Path) -> None:
    """Forms with item, type, choices, limits, conditions, checks and export columns of every question."""
    _write(terminal, out, terminal.read(lambda unit: paper.annotated(unit, trial, form)))


# --- signing and verifying -------------------------------------------------------------------------------------------

#: Where the password of a signature is taken from, unless it is typed.
_PASSWORD = "TRIALDM_PASSWORD"


def _signed(terminal: Terminal, work: Callable[[Unit, str], list[Act] | None]) -> None:
    """Ask for the password, sign, and say what was signed. Raises Forbidden for a wrong password."""
    password = os.environ.get(_PASSWORD) or click.prompt("Password", hide_input=True, err=True)
    done = terminal.change(lambda unit: work(unit, password))
    if done is None:
        raise signatures.wrong_password()
    rows = [{"name": a.name, "role": a.role, "meaning": a.meaning, "at": a.at.isoformat(), "content": a.content} for a in done]
    terminal.say(rows if len(rows) > 1 else rows[0], f"Signed by {done[0].name} ({done[0].role}): {done[0].meaning}")


@form_group.command("sign")
@_at_a_form
@pass_terminal
def form_sign(terminal: Terminal, trial: str, participant: str, visit: str, form: str, row: int) -> None:
    """Sign a finished form. The password of the account is asked for, or taken from the variable TRIALDM_PASSWORD."""

    def work(unit: Unit, password: str) -> list[Act] | None:
        place = places.locate(unit, trial, participant, visit, form, row)
        book, _ = places.saved(unit, place)
        return signatures.sign(unit, place.protocol, book, {place.key: None}, password)

    _signed(terminal, work)


@click.group("casebook")
def casebook_group() -> None:
    """Casebooks: everything that was saved of one participant, to sign or to print."""


@casebook_group.command("sign")
@click.argument("trial")
@click.argument("participant")
@pass_terminal
def casebook_sign(terminal: Terminal, trial: str, participant: str) -> None:
    """Sign the casebook of a participant as the principal investigator, with every finished form in it."""

    def work(unit: Unit, password: str) -> list[Act] | None:
        person = participants.find(unit, trial, participant)
        protocol = studies.protocol_at(unit, trial, person.site)
        act = signatures.sign_casebook(unit, protocol, casebooks.read(unit, trial, person), password)
        return None if act is None else [act]

    _signed(terminal, work)


@form_group.command("verify")
@_at_a_form
@click.option("--item", "items", multiple=True, help="An item that was compared with the source; everything where left out.")
@pass_terminal
def form_verify(terminal: Terminal, trial: str, participant: str, visit: str, form: str, row: int, items: tuple[str, ...]) -> None:
    """Mark answers of a form as compared with the source."""

    def work(unit: Unit) -> str:
        place = places.locate(unit, trial, participant, visit, form, row)
        book, _ = places.saved(unit, place)
        return verification.verify(unit, place.protocol, book, place.key, items or None)

    status = terminal.change(work)
    terminal.say({"status": status}, f"The form is {lifecycle.label(status)}.")


# --- rows entered by mistake -----------------------------------------------------------------------------------------


def _struck(terminal: Terminal, act: Callable[..., None], status: str, where: tuple[str, str, str, str, int], reason: str) -> None:
    terminal.change(lambda unit: act(unit, places.locate(unit, *where), reason))
    terminal.say({"status": status}, f"Row {where[4]} of {where[3].upper()} is {'removed' if status == 'removed' else 'a draft again'}.")


@form_group.command("remove")
@_at_a_form
@click.option("--reason", required=True)
@pass_terminal
def form_remove(terminal: Terminal, trial: str, participant: str, visit: str, form: str, row: int, reason: str) -> None:
    """Take out a row that was entered by mistake; it stays in the trail and can be restored."""
    _struck(terminal, removals.remove, "removed", (trial, participant, visit, form, row), reason)


@form_group.command("restore")
@_at_a_form
@click.option("--reason", required=True)
@pass_terminal
def form_restore(terminal: Terminal, trial: str, participant: str, visit: str, form: str, row: int, reason: str) -> None:
    """Put a row back that was removed, as a draft."""
    _struck(terminal, removals.restore, "draft", (trial, participant, visit, form, row), reason)


# --- freezing and locking --------------------------------------------------------------------------------------------


@click.group("hold")
def hold_group() -> None:
    """Freezing and locking the trial, sites, participants or forms."""


@hold_group.command("list")
@click.argument("trial")
@pass_terminal
def hold_list(terminal: Terminal, trial: str) -> None:
    """What is frozen or locked."""
    rows = [{**vars(hold), "at": hold.at.isoformat(), "by": name} for hold, name in terminal.read(lambda unit: holds.held(unit, trial))]
    lines = (f"{r['scope']:12} {r['name']:16} {lifecycle.label(r['state'])}, by {r['by']}: {r['reason'] or '-'}" for r in rows)
    terminal.say(rows, "\n".join(lines) or "Nothing is held.")


@hold_group.command("move")
@click.argument("trial")
@click.argument("event", type=click.Choice(tuple(lifecycle.MACHINES["hold"])))
@click.option("--site", default="", help="A site.")
@click.option("--participant", default="", help="A participant.")
@click.option("--form", default="", help="A form, by the identifier of its instance.")
@click.option("--reason", default="", help="Why; a lock with a reason accepts what stands against it.")
@pass_terminal
def hold_move(terminal: Terminal, trial: str, event: str, site: str, participant: str, form: str, reason: str) -> None:
    """Freeze or thaw; ask for a lock or its end, which a second person confirms or declines. The trial where nothing is named."""
    named = [(scope, ident) for scope, ident in (("site", site), ("participant", participant), ("form", form)) if ident]
    if len(named) > 1:
        raise click.UsageError("Name one site, participant or form.")
    scope, ident = named[0] if named else ("trial", "")

    def work(unit: Unit) -> dict[str, str]:
        about = holds.target(unit, trial, scope, ident)
        return {"scope": about.scope, "name": about.ident, "state": holds.move(unit, about, event, reason=reason)}

    done = terminal.change(work)
    terminal.say(done, f"{done['scope'].capitalize()} {done['name']} is {lifecycle.label(done['state'])}.")
