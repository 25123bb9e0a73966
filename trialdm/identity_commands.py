"""The commands about identities, and those of the vault itself. Part of the command line.

An identity is read from a file or from standard input, never from the words of a command: those stand in the list of processes.
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from trialdm import instance as instances
from trialdm import settings as files
from trialdm.documents.page import html
from trialdm.domain import identity
from trialdm.domain.errors import Invalid
from trialdm.identity.server import Server
from trialdm.services import identities
from trialdm.terminal import PATH, Terminal, pass_terminal, text_of, write_text

REASON = click.option("--reason", required=True, help="Why, in a sentence without names.")

#: What a person says about somebody of the same name and date of birth.
DIFFERENT = click.option("--different", default="", help="Why somebody of the same name and date of birth is another person.")


def read_identity(file: Path | None) -> dict[str, str] | None:
    """An identity from a JSON file, or from standard input (`-`). Raises Invalid, repeating nothing of it."""
    if file is None:
        return None
    text = sys.stdin.read() if str(file) == "-" else text_of(file)
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()) or set(given) - set(identity.FIELDS):
        raise Invalid(
            "The identity is not written as expected.", code="IDENTITY.FILE", needs=f"A JSON object of texts: {', '.join(identity.FIELDS)}."
        )
    return given


@click.group("identity")
def identity_group() -> None:
    """Identities of participants, in trials that keep them in the vault."""


@identity_group.command("enter")
@click.argument("trial")
@click.argument("participant")
@click.argument("file", type=PATH)
@DIFFERENT
@pass_terminal
def enter(terminal: Terminal, trial: str, participant: str, file: Path, different: str) -> None:
    """Enter the identity of a participant for whom it was to follow, from a JSON file (- for standard input)."""
    given = read_identity(file) or {}
    terminal.change(lambda unit: identities.enter(unit, trial, participant, given, different=different))
    terminal.say({"participant": participant}, f"The identity of {participant} is in the vault.")


@identity_group.command("duplicate")
@click.argument("trial")
@click.argument("file", type=PATH)
@click.option("--site", required=True)
@pass_terminal
def duplicate(terminal: Terminal, trial: str, file: Path, site: str) -> None:
    """Whether the person in a JSON file (- for standard input) is in the trial already; exit code 4 where they are."""
    given = read_identity(file) or {}
    terminal.read(lambda unit: identities.duplicate(unit, trial, given, site))
    terminal.say({"duplicate": False}, "Nobody in this trial is this person.")


@identity_group.command("show")
@click.argument("trial")
@click.argument("participant")
@REASON
@pass_terminal
def show(terminal: Terminal, trial: str, participant: str, reason: str) -> None:
    """Show one identity to staff of the participant's own site. The look is on record before anything is shown."""
    _say(terminal, terminal.change(lambda unit: identities.see(unit, trial, participant, reason)))


def _say(terminal: Terminal, look: identities.Look) -> None:
    who = terminal.read(lambda unit: identities.shown(unit, look)).to_json()
    lines = [f"{words}: {who[name]}" for name, words in identity.WORDS.items() if who[name]]
    terminal.say({"participant": look.participant, **who}, "\n".join(lines))


@identity_group.command("ask")
@click.argument("trial")
@click.argument("participant")
@REASON
@pass_terminal
def ask(terminal: Terminal, trial: str, participant: str, reason: str) -> None:
    """Ask to see the identity of a participant of another site; a second person decides."""
    ident = terminal.change(lambda unit: identities.ask(unit, trial, participant, reason))
    terminal.say({"request": ident}, ident)


@identity_group.command("requests")
@click.argument("trial")
@pass_terminal
def requests(terminal: Terminal, trial: str) -> None:
    """Requests that the account made or may decide."""
    rows = [row.to_json() for row in terminal.read(lambda unit: identities.requests(unit, trial))]
    lines = (f"{row['id']}  {row['participant']}  {row['state']:10} {row['asked_by']}: {row['reason']}" for row in rows)
    terminal.say(rows, "\n".join(lines) or "No request.")


@identity_group.command("decide")
@click.argument("trial")
@click.argument("request")
@click.option("--confirm/--decline", "agree", required=True, default=None, help="Agree to it, or not.")
@REASON
@pass_terminal
def decide(terminal: Terminal, trial: str, request: str, agree: bool, reason: str) -> None:
    """Confirm or decline a request, as the second person."""
    terminal.change(lambda unit: identities.decide(unit, trial, request, reason, agree=agree))
    terminal.say({"request": request, "confirmed": agree}, "Confirmed." if agree else "Declined.")


@identity_group.command("open")
@click.argument("trial")
@click.argument("request")
@pass_terminal
def open_asked(terminal: Terminal, trial: str, request: str) -> None:
    """Show the identity of a request that was confirmed: once, within an hour."""
    _say(terminal, terminal.change(lambda unit: identities.open_asked(unit, trial, request)))


# --- the vault -------------------------------------------------------------------------------------------------------


@click.group("vault")
def vault_group() -> None:
    """The identity vault itself, for whoever keeps it."""


@vault_group.command("serve")
@pass_terminal
def serve(terminal: Terminal) -> None:
    """Run the vault as a process of its own, on the socket of its settings, until it is interrupted."""
    settings = files.load(terminal.folder)
    vault = instances.kept_vault(settings)
    vault.create()
    if not settings.vault.token.exists():
        handle = os.open(settings.vault.token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, int(settings.vault.socket_mode, 8))
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    token = settings.vault.token.read_text("ascii").strip()
    if len(token) < 32:
        raise Invalid("The vault's token has fewer than 32 characters.", code="VAULT.TOKEN", needs="Delete the file: a new one is made.")
    try:
        server = Server(vault, settings.vault.socket, token, settings.vault.allowed_uids, int(settings.vault.socket_mode, 8))
    except OSError as problem:
        raise Invalid(
            f"The socket cannot be used: {problem.strerror}.", code="VAULT.SOCKET", needs="Another 'socket' in [vault]."
        ) from None
    terminal.say({"socket": str(settings.vault.socket)}, f"The vault answers at {settings.vault.socket}.")
    with server:
        server.serve_forever()


@vault_group.command("reconcile")
@click.option("--minutes", type=click.IntRange(0, 1440), help="Age from which what never came into the research database is forgotten.")
@pass_terminal
def reconcile(terminal: Terminal, minutes: int | None) -> None:
    """Make the vault agree with the research database after a crash; the service does it by itself every ten minutes."""
    oldest = terminal.instance.settings.vault.orphan_minutes if minutes is None else minutes
    done = terminal.read(lambda unit: identities.reconcile(unit, oldest), anybody=True)
    terminal.say(done, f"Made active: {done['active']}. Forgotten: {done['forgotten']}. Shredded: {done['shredded']}.")


def _kept(terminal: Terminal) -> Any:
    return instances.kept_vault(files.load(terminal.folder))


@vault_group.command("rotate")
@click.option("--batch", default=100, show_default=True, type=click.IntRange(1, 10000), help="Keys that are wrapped in one transaction.")
@pass_terminal
def rotate(terminal: Terminal, batch: int) -> None:
    """Bring in a new key-encryption key and wrap every person's key anew; the vault goes on answering."""
    version, done = _kept(terminal).rotate_wrapping(batch)
    terminal.say({"version": version, "wrapped": done}, f"Version {version} wraps {done} keys.")


@vault_group.command("retire")
@pass_terminal
def retire(terminal: Terminal) -> None:
    """Destroy older key-encryption keys: what they alone wrapped, in old backups too, cannot be read any more."""
    old = _kept(terminal).retire_wrapping()
    terminal.say({"retired": old}, f"Retired: {', '.join(map(str, old)) or 'none'}.")


@vault_group.command("rotate-index")
@click.option("--batch", default=100, show_default=True, type=click.IntRange(1, 10000), help="Identities in one transaction.")
@pass_terminal
def rotate_index(terminal: Terminal, batch: int) -> None:
    """Bring in a new key of the blind indexes: a second column is filled, then put in the place of the first."""
    version, done = _kept(terminal).rotate_index(batch)
    terminal.say({"version": version, "indexed": done}, f"Version {version} indexes {done} identities.")


@vault_group.command("shred")
@click.argument("trial")
@click.argument("participant")
@REASON
@pass_terminal
def shred(terminal: Terminal, trial: str, participant: str, reason: str) -> None:
    """Make one identity unreadable for good: the first person asks, the second one does it."""
    done = terminal.change(lambda unit: identities.shred(unit, trial, participant, reason))
    words = "Shredded. Write the certificate with 'vault certificate'." if done else "Asked: a second person gives the same command."
    terminal.say({"participant": participant, "shredded": done}, words)


@vault_group.command("certificate")
@click.argument("trial")
@click.argument("participant")
@click.option("--out", type=PATH, required=True, help="HTML file to write.")
@pass_terminal
def certificate(terminal: Terminal, trial: str, participant: str, out: Path) -> None:
    """Write the certificate of a shredded identity, with what shredding does not reach."""
    document = terminal.read(lambda unit: identities.certificate(unit, trial, participant))
    write_text(out, html(document))
    terminal.say({"file": str(out)}, f"Wrote {out}.")
