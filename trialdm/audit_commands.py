"""The commands about the audit trail: proving it, sealing it, giving checkpoints away, receipts, exports, and removing a value."""

import json
import time
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from trialdm.domain import errors
from trialdm.domain.errors import Broken
from trialdm.services import anchors, chains, proof, redactions, sealing, signatures, stamps, studies, trail
from trialdm.services.jobs import Jobs
from trialdm.services.proof import Finding, Report
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import Trial
from trialdm.terminal import PATH, Terminal, pass_terminal, text_of, write_text

#: Nothing is said of work that is over sooner than this.
_PATIENCE_SECONDS = 2.0


@click.group("audit")
def audit_group() -> None:
    """The audit trail."""


@audit_group.command("verify")
@click.argument("trial", required=False, default="")
@click.option(
    "--anchor", "given", type=PATH, multiple=True, help="A file with checkpoints that was kept elsewhere; may be given several times."
)
@click.option("--as-it-is", is_flag=True, help="Write nothing: what is not sealed yet stays so.")
@pass_terminal
def verify(terminal: Terminal, trial: str, given: tuple[Path, ...], as_it_is: bool) -> int:
    """Prove the trail and everything it accounts for, and name what was changed.

    TRIAL limits the check of allocations and signatures; the trail is always proved whole. Exit codes: 0 everything is as it was
    written, 1 something was changed, 2 something could not be checked.
    """
    texts = [text_of(path) for path in given]
    problems = [] if as_it_is else _sealed(terminal)
    started = time.monotonic()

    def say(words: str) -> None:
        if time.monotonic() - started > _PATIENCE_SECONDS:
            click.echo(words, err=True, nl=False)

    def work(unit: Unit) -> tuple[Report, dict[str, int]]:
        report = proof.verify(unit, [*texts, *anchors.read_folder(terminal.instance.settings.anchors.folder)], say)
        report.findings[:0] = problems
        _stamps(unit, report, terminal.instance.settings.anchors.stamp_certificates)
        return report, _ledgers(unit, report, trial)

    report, counted = terminal.read(work, anybody=True)
    _tell(terminal, report, counted)
    return report.code


def _stamps(unit: Unit, report: Report, certificates: Path | None) -> None:
    """Check the time stamps of checkpoints: each must be a good one of what stands there now."""
    good, bad = stamps.judged(unit, certificates)
    report.anchors += len(good)
    for trial, stream, size in bad:
        said = "The time stamp is not one of this checkpoint."
        report.findings.append(Finding("AUDIT.ANCHOR", "anchor", f"{trial} {stream} {size}", "token", said))


def _sealed(terminal: Terminal) -> list[Finding]:
    """Seal what waits. A tree that was changed is not built upon: what is found then is told with the rest."""
    try:
        sealing.seal_all(terminal.instance.units)
    except Broken as problem:
        return [Finding(problem.code, "checkpoint", "", "", problem.message)]
    return []


def _ledgers(unit: Unit, report: Report, trial: str) -> dict[str, int]:
    """Check the chains of allocations and what signatures are bound to."""
    if trial:
        studies.definition(unit, trial)
    counted = {"allocation_events": 0, "signatures": 0}
    for ident in [trial] if trial else unit.session.scalars(select(Trial.id).order_by(Trial.id)).all():
        for name, count in (("allocation_events", chains.verify_chain), ("signatures", signatures.check)):
            try:
                counted[name] += count(unit, ident)
            except Broken as problem:
                report.findings.append(
                    Finding(problem.code, "scheme" if name == "allocation_events" else "form_act", ident, "", problem.message)
                )
            except Exception as problem:  # rows that were changed so that nothing can be read
                said = f"It cannot be read: {type(problem).__name__}."
                report.findings.append(Finding("AUDIT.UNREADABLE", name, ident, "", said))
    return counted


def _tell(terminal: Terminal, report: Report, counted: dict[str, int]) -> None:
    lines = [
        f"{report.entries} entries, {report.values} values and {report.rows} rows in {report.forms} forms and elsewhere were checked, "
        f"{report.leaves} entries under {report.checkpoints} checkpoints, {report.anchors} checkpoints from elsewhere, "
        f"{counted['allocation_events']} allocation events and {counted['signatures']} signatures."
    ]
    if report.redacted:
        lines.append(f"{report.redacted} values were removed by two people.")
    if report.unsealed:
        lines.append(f"{report.unsealed} entries wait to be sealed, the oldest of {report.oldest_unsealed}.")
    lines += [f"Not checked: {words}" for words in report.open]
    lines.append("Everything is as it was written." if not report.code else f"{len(report.findings)} findings.")
    terminal.say({**report.to_json(), **counted}, "\n".join(lines))
    for finding in report.findings:
        click.echo(str(finding), err=True)


@audit_group.command("seal")
@pass_terminal
def seal(terminal: Terminal) -> None:
    """Give every entry its place in the tree, and sign a checkpoint. The worker of 'serve' does it every few seconds."""
    done = sealing.seal_all(terminal.instance.units)
    held = " Another sealer is at work." if done.held else ""
    terminal.say({"sealed": done.sealed, "held": done.held}, f"Sealed {done.sealed} entries.{held}")


@audit_group.command("anchor")
@click.option("--out", type=PATH, help="File for the newest checkpoints, such as one on a medium that is written once.")
@click.option("--mail", "mail_trial", default="", help="Trial whose sponsor is sent them.")
@click.option("--stamp", is_flag=True, help="Have them stamped by the time-stamp service of the settings (RFC 3161).")
@pass_terminal
def anchor(terminal: Terminal, out: Path | None, mail_trial: str, stamp: bool) -> None:
    """Give the newest checkpoints away: to a file, to the folder of the settings, to the sponsor, or to a time-stamp service."""
    known = terminal.instance.settings
    units, folder = terminal.instance.units, known.anchors.folder
    if stamp and not known.anchors.stamp_address:
        raise click.UsageError("Name the service in settings.toml: [anchors] stamp_address and stamp_certificates")
    if out is None and not mail_trial and not stamp and folder is None:
        raise click.UsageError("Say where to: --out FILE, --mail TRIAL, or [anchors] folder in settings.toml")
    sealing.seal_all(units)
    said: dict[str, Any] = {}
    if out is not None:
        write_text(out, terminal.read(anchors.complete, anybody=True))
        said["file"] = str(out)
    if mail_trial:
        said["mails"] = units.run(SYSTEM, lambda unit: anchors.by_mail(unit, mail_trial))
    if stamp:
        said["stamps"] = Jobs(units, known.folder, given_away=known.anchors).stamp()
    if out is None and not mail_trial and not stamp and folder is not None:
        said["file"] = str(units.run(SYSTEM, lambda unit: anchors.to_file(unit, folder)))
    terminal.say(said, "Gave the checkpoints away: " + ", ".join(f"{key} {value}" for key, value in said.items()) + ".")


@audit_group.command("receipt")
@click.argument("trial")
@click.argument("event")
@click.option("--out", type=PATH, help="File for the receipt.")
@pass_terminal
def receipt(terminal: Terminal, trial: str, event: str, out: Path | None) -> None:
    """The receipt of an entry (by its identifier): it proves without the database that the entry stands in the trail."""
    sealing.seal_all(terminal.instance.units)
    found = terminal.read(lambda unit: anchors.receipt(unit, trial, event))
    if out is not None:
        write_text(out, json.dumps(found, indent=1) + "\n")
    terminal.say(found, f"Wrote {out}." if out is not None else "")


@audit_group.command("receipt-verify")
@click.argument("file", type=PATH)
@click.option("--key", default="", help="The public key of the instance in hex; that of this instance where left out.")
@pass_terminal
def receipt_verify(terminal: Terminal, file: Path, key: str) -> None:
    """Check a receipt. With --key it needs no instance."""
    try:
        document = json.loads(text_of(file))
    except json.JSONDecodeError as problem:
        raise errors.Invalid(f"{file}:{problem.lineno}: not JSON: {problem.msg}.", code="FILE.JSON") from None
    public = key or terminal.read(anchors.public_key, anybody=True)
    found = anchors.verify_receipt(document, public)
    terminal.say(
        {"origin": found.origin, "size": found.size, "root": found.root.hex(), "at": found.at.isoformat()},
        f"The entry stands in {found.origin}, signed at {found.size} entries on {found.at.isoformat(timespec='seconds')}.",
    )


@audit_group.command("export")
@click.argument("trial")
@click.option("--out", type=PATH, required=True, help="File that ends in .csv or .jsonl.")
@click.option("--proofs", is_flag=True, help="With commitments, leaves and checkpoints, for a verifier of one's own (.jsonl).")
@pass_terminal
def export(terminal: Terminal, trial: str, out: Path, proofs: bool) -> None:
    """Write the whole trail as the account may read it."""
    kind = out.suffix.lower().removeprefix(".")
    if kind not in trail.FILES or (proofs and kind != "jsonl"):
        raise click.BadParameter(f"'{out}' must end in .jsonl{'' if proofs else ' or .csv'}", param_hint="--out")
    if proofs:
        sealing.seal_all(terminal.instance.units)

    def work(unit: Unit) -> int:
        lines = trail.proofs(unit, trial) if proofs else trail.file(unit, trial, trail.Filter(), kind)
        count = 0
        try:
            with out.open("w", encoding="utf-8", newline="") as file:
                for count, line in enumerate(lines, 1):  # noqa: B007
                    file.write(line)
        except OSError as problem:
            raise errors.Invalid(f"{out} cannot be written: {problem.strerror}.", code="FILE.UNWRITABLE") from None
        return count

    terminal.actor()
    lines = terminal.read(work)
    terminal.change(lambda unit: trail.exported(unit, trial, kind))
    terminal.say({"file": str(out), "lines": lines}, f"Wrote {lines} lines to {out}.")


# --- removing a value ------------------------------------------------------------------------------------------------


@audit_group.group("redact")
def redact_group() -> None:
    """Removing a value that was entered by mistake, by two people."""


@redact_group.command("ask")
@click.argument("trial")
@click.argument("event")
@click.option("--reason", required=True, help="Why the value must go; without repeating it.")
@pass_terminal
def redact_ask(terminal: Terminal, trial: str, event: str, reason: str) -> None:
    """Ask that the value which an entry (by its identifier) brought in be removed."""
    terminal.change(lambda unit: redactions.ask(unit, trial, event, reason))
    terminal.say({"event": event, "state": "asked"}, "Asked. Another person confirms or declines.")


@redact_group.command("confirm")
@click.argument("trial")
@click.argument("event")
@pass_terminal
def redact_confirm(terminal: Terminal, trial: str, event: str) -> None:
    """Remove the value, as the second person."""
    done = terminal.change(lambda unit: redactions.confirm(unit, trial, event))
    terminal.say({"event": event, "state": "removed", "copies": done}, f"Removed. {done} copies of it are gone; backups still hold it.")


@redact_group.command("decline")
@click.argument("trial")
@click.argument("event")
@click.option("--reason", required=True)
@pass_terminal
def redact_decline(terminal: Terminal, trial: str, event: str, reason: str) -> None:
    """Leave the value where it is."""
    terminal.change(lambda unit: redactions.decline(unit, trial, event, reason))
    terminal.say({"event": event, "state": "declined"}, "Declined.")


@redact_group.command("list")
@click.argument("trial")
@pass_terminal
def redact_list(terminal: Terminal, trial: str) -> None:
    """What was asked for, and what became of it."""
    found = terminal.read(lambda unit: [one.to_json() for one in redactions.of_trial(unit, trial)])
    terminal.say(
        found, "\n".join(f"{one['event']} {one['state']} {one['asked_by']}: {one['reason']}" for one in found) or "Nothing was asked for."
    )
