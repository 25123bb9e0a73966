"""The commands below `allocation`: making a scheme fit to use, keeping it, and proving it. Part of the command line."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from trialdm import settings as files
from trialdm.definitions import sources
from trialdm.documents import page
from trialdm.documents.envelopes import Slip, printable
from trialdm.domain import errors
from trialdm.domain.randomisation import ledger
from trialdm.domain.randomisation.schemes import Allocator
from trialdm.domain.words import counted
from trialdm.services import (
    allocations,
    corrections,
    envelopes,
    epochs,
    factors,
    ledgers,
    schemes,
    specification,
    studies,
    unblinding,
)
from trialdm.services.unit import LONDON, Unit
from trialdm.store import keys as sealing
from trialdm.terminal import PATH, Terminal, pass_terminal, text_of, write_bytes


def _opened(_context: Any, _option: Any, text: str) -> datetime:
    """A moment as wall time in Europe/London, unless it names its own time zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a moment such as 2026-03-01T17:40") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=LONDON)).astimezone(UTC)


#: How the name of a document ends.
_DOCUMENTS = (".html", ".htm", ".pdf")


def _whole_hash(_context: Any, _option: Any, given: Any) -> Any:
    """What somebody noted: all 64 digits of it, since a beginning proves little."""
    for text in given if isinstance(given, tuple) else (given,):
        if text is not None and not re.fullmatch("[0-9a-fA-F]{64}", text):
            raise click.BadParameter(f"'{text}' is not 64 hexadecimal digits: the whole of it is needed")
    return given


def document_file(_context: Any, _option: Any, out: Path) -> Path:
    """The name of a document to write, before anything is made for it."""
    if out.suffix.lower() not in _DOCUMENTS:
        raise click.BadParameter(f"'{out}' must end in .html, .htm or .pdf: nothing else is written")
    return out


_SCHEME = click.option("--scheme", "name", default="", help="Scheme; the trial's first one where left out.")


@click.group("allocation")
def allocation_group() -> None:
    """Allocation schemes."""


# --- making one fit to use -------------------------------------------------------------------------------------------


@allocation_group.command("commit")
@click.argument("trial")
@_SCHEME
@click.option("--test-seed", default="", help="64 hexadecimal digits in place of a drawn master; in a test instance only.")
@pass_terminal
def commit(terminal: Terminal, trial: str, name: str, test_seed: str) -> None:
    """Freeze the scheme, draw and seal its master, and show the commitment to both."""
    seed = _hex(test_seed, "--test-seed") if test_seed else None
    _say_committed(terminal, terminal.change(lambda unit: _facts(schemes.prepare(unit, trial, name=name, seed=seed))))


@allocation_group.command("import")
@click.argument("trial")
@click.argument("file", type=PATH)
@_SCHEME
@pass_terminal
def import_list(terminal: Terminal, trial: str, file: Path, name: str) -> None:
    """Check and seal an allocation list made elsewhere."""
    text = text_of(file)
    _say_committed(terminal, terminal.change(lambda unit: _facts(schemes.import_list(unit, trial, text, name=name))))


@allocation_group.command("contribute")
@click.argument("trial")
@click.argument("value")
@click.option("--dice", is_flag=True, help="The value is what dice showed: digits 1 to 6.")
@click.option("--source", default="", help="Where the value comes from, for the specification.")
@_SCHEME
@pass_terminal
def contribute(terminal: Terminal, trial: str, value: str, dice: bool, source: str, name: str) -> None:
    """Add a value that the person who committed could not choose: hexadecimal, or dice."""
    found = terminal.change(lambda unit: _facts(schemes.contribute(unit, trial, value, dice=dice, source=source, name=name)))
    terminal.say(found, f"Contribution: {found['contribution']}\nSpecification: {found['specification']}")


@allocation_group.command("sign")
@click.argument("trial")
@click.option("--sha256", default="", help="For an imported list: its SHA-256, as its maker gave it.")
@click.option("--specification", "read", default="", help="Hash of the specification that you read, as its sheet shows it.")
@_SCHEME
@pass_terminal
def sign(terminal: Terminal, trial: str, sha256: str, read: str, name: str) -> None:
    """Sign the specification as the second person: the scheme goes live."""
    found = terminal.change(lambda unit: _signed(unit, epochs.sign(unit, trial, name=name, sha256=sha256, read=read)))
    words = f"Signed for specification {found['specification']}. Scheme {found['scheme']}, epoch {found['epoch']}, is {found['state']}."
    terminal.say(found, words)


@allocation_group.command("amend")
@click.argument("trial")
@click.argument("path", type=PATH)
@click.option("--reason", required=True, help="Why, with the reference of the approval.")
@click.option("--list", "list_file", type=PATH, help="For a scheme with an imported list: the new list.")
@_SCHEME
@pass_terminal
def amend(terminal: Terminal, trial: str, path: Path, reason: str, list_file: Path | None, name: str) -> None:
    """Commit to a changed scheme as a new epoch, from the protocol's changed files. It goes live when a second person signs."""
    texts = {f"{trial}/{name_.partition('/')[2]}": text for name_, text in sources.read_folder(path).items()}
    list_text = text_of(list_file) if list_file else ""
    made = terminal.change(lambda unit: _facts(epochs.amend(unit, trial, texts, reason=reason, name=name, list_text=list_text)))
    _say_committed(terminal, made)


@allocation_group.command("escrow")
@click.argument("trial")
@click.option("--out", required=True, type=PATH, help="File for the share; it must not exist.")
@_SCHEME
@pass_terminal
def escrow(terminal: Terminal, trial: str, out: Path, name: str) -> None:
    """Draw one share of the master, as one of two custodians. Alone it says nothing; the other share is somebody else's."""
    if out.exists():
        raise errors.Invalid(f"{out} exists already.", code="FILE.EXISTS", needs="A file that does not exist.")
    row, number, share = terminal.change(lambda unit: _share(unit, trial, name))
    words = f"# Share {number} of 2 of the allocation master: trial {trial}, scheme {row['scheme']}, epoch {row['epoch']}\n"
    words += f"# Commitment {row['commit']}\n# Keep it sealed, where nobody finds it together with the other one.\n"
    out.touch(mode=0o600)
    out.write_text(f"{words}{share}\n", "utf-8")
    needs = "The other custodian draws the second share under their own account." if number == 1 else "Both shares are drawn."
    terminal.say({**row, "share": number, "file": str(out)}, f"Wrote share {number} of 2 to {out}. {needs}")


@allocation_group.command("recover")
@click.argument("trial")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@_SCHEME
@pass_terminal
def recover(terminal: Terminal, trial: str, first: Path, second: Path, name: str) -> None:
    """Put the master of two shares back, after the key of the instance was lost. A new key is made where there is none."""
    one, other = text_of(first), text_of(second)
    sealing.replace_lost(files.load(terminal.folder).keys_folder)
    found = terminal.change(lambda unit: _facts(ledgers.recover(unit, trial, one, other, name=name)))
    terminal.say(found, "The two shares give the master that was committed to; it is sealed again.")


def _move_command(event: str, words: str) -> None:
    """A command for one step that a person takes with a scheme."""

    @allocation_group.command(event, help=words)
    @click.argument("trial")
    @click.option("--reason", default="")
    @_SCHEME
    @pass_terminal
    def move(terminal: Terminal, trial: str, reason: str, name: str) -> None:
        state = terminal.change(lambda unit: schemes.move(unit, trial, event, name=name, reason=reason))
        terminal.say({"trial": trial, "state": state}, f"The scheme is now {state}.")


for _event, _words in {
    "pause": "Stop allocating for a while.",
    "resume": "Allocate again.",
    "withdraw": "Take back what nobody has signed yet: a commitment, a list, an amendment.",
    "close": "End allocation by this scheme for good.",
}.items():
    _move_command(_event, _words)


def _facts(row: Any) -> dict[str, Any]:
    return {
        "trial": row.trial_id,
        "scheme": row.name,
        "epoch": row.epoch,
        "commit": row.commit,
        "contribution": row.contribution,
        "specification": schemes.specification_hash(row),
    }


def _signed(unit: Unit, row: Any) -> dict[str, Any]:
    return {**_facts(row), "state": schemes.state(unit, row)}


def _share(unit: Unit, trial: str, name: str) -> tuple[dict[str, Any], int, str]:
    row, number, share = ledgers.draw_share(unit, trial, name=name)
    return _facts(row), number, share


def _say_committed(terminal: Terminal, found: Mapping[str, Any]) -> None:
    needs = f"Scheme {found['scheme']}, epoch {found['epoch']}: nothing is allocated before a second person has signed."
    terminal.say(dict(found), f"Commitment: {found['commit']}\n{needs}")


# --- reading and proving ---------------------------------------------------------------------------------------------


@allocation_group.command("status")
@click.argument("trial")
@pass_terminal
def status(terminal: Terminal, trial: str) -> None:
    """State, commitment and number of allocations; nothing about arms."""
    found = terminal.read(lambda unit: schemes.status(unit, trial), anybody=True)
    terminal.say(found, "\n".join(f"{name}: {value}" for name, value in found.items()))


@allocation_group.command("show")
@click.argument("trial")
@click.argument("participant")
@pass_terminal
def show(terminal: Terminal, trial: str, participant: str) -> None:
    """The allocation of one participant, for an account that may read it; each reading is recorded."""
    found = terminal.change(lambda unit: unblinding.look(unit, trial, participant))
    answer = {"participant": found.participant, "number": found.number, "at": found.at, "arm": found.arm}
    terminal.say(answer, f"{found.participant}, {found.number}: {found.arm} ({found.label}).")


@allocation_group.command("ledger")
@click.argument("trial")
@click.option("--out", required=True, type=PATH, help="File to write.")
@click.option("--epoch", type=int, help="Epoch; the newest one where left out.")
@_SCHEME
@pass_terminal
def write_ledger(terminal: Terminal, trial: str, out: Path, epoch: int | None, name: str) -> None:
    """Write the ledger: every event, and the signed heads of the chain. It holds no secret."""
    found = terminal.change(lambda unit: ledgers.ledger_file(unit, trial, name=name, epoch=epoch))
    _write(out, found)
    head = found["heads"][-1] if found["heads"] else {"i": 0, "hash": ""}
    terminal.say(
        {"trial": trial, "file": str(out), "events": len(found["events"]), "head": head["hash"]},
        f"Wrote {len(found['events'])} events to {out}. Head: {head['i']} {head['hash']}",
    )


@allocation_group.command("reveal")
@click.argument("trial")
@click.option("--out", required=True, type=PATH, help="File to write.")
@click.option("--epoch", type=int, help="Epoch; the newest one where left out.")
@_SCHEME
@pass_terminal
def write_reveal(terminal: Terminal, trial: str, out: Path, epoch: int | None, name: str) -> None:
    """Write the master and every arm, once the database is locked."""
    found = terminal.change(lambda unit: ledgers.reveal(unit, trial, name=name, epoch=epoch))
    _write(out, found)
    out.chmod(0o600)
    places = len(found["arms"])
    terminal.say({"trial": trial, "file": str(out), "arms": places}, f"Wrote the reveal of {places} places to {out}.")


@allocation_group.command("verify")
@click.argument("ledger_path", metavar="LEDGER", type=PATH)
@click.option("--reveal", "reveal_path", type=PATH, help="The reveal: every arm is derived again.")
@click.option(
    "--head",
    "noted",
    multiple=True,
    callback=_whole_hash,
    help="Hash of a head that you noted earlier, all 64 digits; may be given several times.",
)
@click.option("--commit", metavar="HEX", callback=_whole_hash, help="The commitment that you noted at the start, all 64 digits.")
@click.option("--public-key", metavar="HEX", callback=_whole_hash, help="The public key that you noted at the start, all 64 digits.")
@pass_terminal
def verify(
    terminal: Terminal, ledger_path: Path, reveal_path: Path | None, noted: tuple[str, ...], commit: str | None, public_key: str | None
) -> int:
    """Verify a ledger: chain and signatures; with the reveal every arm. Needs no instance."""
    reveal = _json(reveal_path) if reveal_path else None
    try:
        found = ledger.verify(
            _json(ledger_path), sealing.signed, reveal=reveal, noted=noted, commit=commit or "", public_key=public_key or ""
        )
    except ValueError as problem:
        raise errors.Invalid(f"This cannot be verified: {problem}.", code="ALLOC.FILE") from None
    terminal.say(found.to_json(), _verified(found))
    return 0 if found.holds else 5


def _verified(found: ledger.Check) -> str:
    """The result in words."""
    named = [f"Commitment: {found.commit}", f"Public key: {found.public_key}"]
    if not found.holds:
        lines = [f"{place}: {message}." for place, message in found.faults]
        return "\n".join([f"VERIFICATION FAILED: {counted(len(found.faults), 'fault')}.", *lines, *named])
    lines = [f"The chain of {found.events} events holds, with {counted(found.heads, 'signed head')} on it. Last hash: {found.head}"]
    if found.revealed:
        lines.append(f"{counted(found.derived, 'allocation')} derived again, each as it was made; every arm is the one committed to.")
    if found.external:
        lines.append(f"{len(found.external)} made elsewhere, not derived: events {', '.join(map(str, found.external))}.")
    return "\n".join([*lines, *named])


@allocation_group.command("derive")
@click.argument("config_path", metavar="CONFIG", type=PATH)
@click.option("--master", required=True, help="64 hexadecimal digits.")
@click.option("--contribution", default="", help="Hexadecimal.")
@click.option("--count", default=24, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--levels", multiple=True, help="Levels of a participant, separated by |; given several times they are used in turn.")
@pass_terminal
def derive(terminal: Terminal, config_path: Path, master: str, contribution: str, count: int, levels: tuple[str, ...]) -> None:
    """The allocations that a configuration, a master and a contribution give: for comparing with a program of your own."""
    keys = ledger.Keys(_json(config_path), _hex(master, "--master"), _hex(contribution, "--contribution"))
    people = [text.split("|") for text in levels] or [[factor["levels"][0] for factor in keys.config.get("factors", [])]]
    try:
        allocator, arms = Allocator(keys), []
        for number in range(count):
            given = people[number % len(people)]
            if ledger.levels_of(keys.config, dict(zip([f["name"] for f in keys.config.get("factors", [])], given, strict=True))) is None:
                raise ValueError(f"'{'|'.join(given)}' are not levels of this configuration")
            placed = allocator.next(given)
            allocator.take(placed)
            arms.append(allocator.arm(placed))
    except (KeyError, ValueError) as problem:
        raise errors.Invalid(f"Nothing can be derived: {problem}.", code="ALLOC.FILE") from None
    found = {"config_hash": keys.config_hash.hex(), "commit": keys.commit.hex(), "root": keys.root.hex(), "genesis": keys.genesis.hex()}
    terminal.say({**found, "arms": arms}, "\n".join([*(f"{name}: {value}" for name, value in found.items()), " ".join(arms)]))


# --- documents -------------------------------------------------------------------------------------------------------


@allocation_group.command("specification")
@click.argument("trial")
@click.option("--out", required=True, type=PATH, callback=document_file, help="File to write: .html or .pdf.")
@click.option("--epoch", type=int, help="Epoch; the newest one where left out.")
@_SCHEME
@pass_terminal
def write_specification(terminal: Terminal, trial: str, out: Path, epoch: int | None, name: str) -> None:
    """Write the specification sheet: what two people sign before the scheme goes live."""
    found = terminal.read(lambda unit: specification.sheet(unit, trial, name=name, epoch=epoch))
    write_document(out, page.html(found))
    terminal.say({"trial": trial, "file": str(out)}, f"Wrote {out}.")


@allocation_group.command("envelopes")
@click.argument("trial")
@click.option("--site", required=True)
@click.option("--count", required=True, type=int)
@click.option(
    "--out",
    required=True,
    type=PATH,
    callback=document_file,
    help="New file to print: .html or .pdf. It names the arms: delete it after printing.",
)
@pass_terminal
def write_envelopes(terminal: Terminal, trial: str, site: str, count: int, out: Path) -> None:
    """Make a site's next envelopes for a time when the system is away."""
    if out.exists():
        raise errors.Invalid(f"{out} exists already: no envelopes were made.", code="FILE.EXISTS", needs="The name of a new file.")
    made = terminal.change(lambda unit: envelopes.prepare(unit, trial, site, count))
    slips = [Slip(envelope.number, envelope.arm, envelope.label) for envelope in made]
    write_document(out, printable(trial, site, slips))
    out.chmod(0o600)
    first, last = made[0].number, made[-1].number
    found = {"trial": trial, "site": site, "first": first, "last": last, "file": str(out)}
    terminal.say(found, f"Wrote envelopes {first} to {last} to {out}.")


def write_document(out: Path, text: str) -> None:
    """A document as HTML, or as PDF where the file's name says so."""
    write_bytes(out, page.pdf(text) if out.suffix.lower() == ".pdf" else text.encode())


# --- what happened outside, and what went wrong ----------------------------------------------------------------------


@allocation_group.command("reconcile")
@click.argument("trial")
@click.argument("participant")
@click.option("--site", required=True)
@click.option("--envelope", required=True, type=int, help="The number on the envelope.")
@click.option("--opened", required=True, callback=_opened, help="When it was opened: 2026-03-01T17:40, wall time of the United Kingdom.")
@click.option("--still-sealed", is_flag=True, help="Confirms that earlier envelopes which are not entered are still sealed.")
@pass_terminal
def reconcile(terminal: Terminal, trial: str, participant: str, site: str, envelope: int, opened: datetime, still_sealed: bool) -> None:
    """Enter an envelope that was opened for a participant while the system was away."""
    found = terminal.change(
        lambda unit: envelopes.reconcile(unit, trial, site, envelope, participant, opened, confirmed=still_sealed).to_json()
    )
    terminal.say(found, f"{found['participant']} is randomised as {found['number']}.")


@allocation_group.command("spoil")
@click.argument("trial")
@click.option("--site", required=True)
@click.option("--envelope", required=True, type=int)
@click.option("--opened", required=True, callback=_opened, help="When it was opened, damaged or found lost.")
@click.option("--note", required=True, help="What happened to it.")
@pass_terminal
def spoil(terminal: Terminal, trial: str, site: str, envelope: int, opened: datetime, note: str) -> None:
    """Account for an envelope that was used for nobody."""
    terminal.change(lambda unit: envelopes.spoil(unit, trial, site, envelope, opened, note))
    terminal.say({"trial": trial, "site": site, "envelope": envelope, "state": "spoilt"}, f"Envelope {envelope} of {site} is spoilt.")


@allocation_group.command("account")
@click.argument("trial")
@pass_terminal
def account(terminal: Terminal, trial: str) -> None:
    """What became of every envelope, and whether the order held. Without their content."""
    found = terminal.read(lambda unit: envelopes.account(unit, trial))
    lines = [f"{e.site} {e.number:4} {e.state:7} {e.participant:14} {e.fault}".rstrip() for e in found]
    terminal.say(envelopes.to_json(found), "\n".join(lines) or "No envelopes.")


@allocation_group.command("factors")
@click.argument("trial")
@click.argument("participant")
@_SCHEME
@pass_terminal
def show_factors(terminal: Terminal, trial: str, participant: str, name: str) -> None:
    """The factor values of an allocation: as randomised, as corrected, as verified."""

    def work(unit: Unit) -> list[factors.Values]:
        protocol, person = studies.protocol(unit, trial), factors.person(unit, trial, participant)
        wanted = protocol.scheme_named(name)
        return [value for used in factors.used(unit, protocol, person) if used.scheme is wanted for value in used.values]

    found = terminal.read(work)
    lines = [f"{v.factor:20} {v.randomised:10} {v.corrected or '-':10} {v.verified or '-'}" for v in found]
    header = f"{'Factor':20} {'Randomised':10} {'Corrected':10} Verified"
    terminal.say(factors.to_json(found), "\n".join([header, *lines]) if lines else "Not randomised.")


@allocation_group.command("verify-factors")
@click.argument("trial")
@click.argument("participant")
@click.argument("values", nargs=-1, required=True, metavar="FACTOR=LEVEL ..")
@_SCHEME
@pass_terminal
def verify_factors(terminal: Terminal, trial: str, participant: str, values: tuple[str, ...], name: str) -> None:
    """What a monitor read in the source for each factor."""
    levels = dict(value.partition("=")[::2] for value in values)
    found = terminal.change(lambda unit: corrections.verify(unit, trial, participant, levels, name=name))
    terminal.say(factors.to_json(found), "Differs: " + (", ".join(v.label for v in found if v.differs) or "nothing"))


@allocation_group.command("error")
@click.argument("trial")
@click.argument("participant")
@click.option("--code", required=True, type=int, help="; ".join(f"{code} {words}" for code, (words, _) in corrections.ERRORS.items()))
@click.option("--reason", required=True)
@click.option("--other", default="", help="The person's other number, where they were randomised twice.")
@_SCHEME
@pass_terminal
def mark_error(terminal: Terminal, trial: str, participant: str, code: int, reason: str, other: str, name: str) -> None:
    """Mark an allocation as made in error. It stands, and its place stays taken."""
    row = terminal.change(lambda unit: corrections.in_error(unit, trial, participant, code, reason, other=other, name=name))
    terminal.say({"participant": row.participant_id, "code": code, "event": row.event}, "Marked. The allocation stands.")


@allocation_group.command("site")
@click.argument("trial")
@click.argument("site")
@click.option("--key", required=True, help="The same key gives the same answer.")
@_SCHEME
@pass_terminal
def allocate_site(terminal: Terminal, trial: str, site: str, key: str, name: str) -> None:
    """Allocate one site, where the scheme allocates sites."""
    found, _ = terminal.change(lambda unit: allocations.randomise_site(unit, trial, site, key, name=name))
    terminal.say(found.to_json(), f"{site} is allocated." + (f" Arm: {found.arm}" if found.arm else ""))


def _json(path: Path) -> Any:
    try:
        return json.loads(text_of(path))
    except json.JSONDecodeError as problem:
        raise errors.Invalid(f"{path}:{problem.lineno}: not JSON: {problem.msg}.", code="FILE.JSON") from None


def _hex(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise errors.Invalid(f"{what} is not hexadecimal.", code="ALLOC.FILE") from None


def _write(path: Path, found: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as problem:
        raise errors.Invalid(f"{path} cannot be written: {problem.strerror}.", code="FILE.UNWRITABLE") from None
