"""The command line: a thin door to the use cases. Every command says who acts (`--as`), and prints words or one JSON document.

Exit codes: 0 done, 1 a fault of the program, 2 usage or an invalid file, 3 refused by permission, gate or state, 4 conflict,
5 verification failed.
"""

import getpass
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

import trialdm
from trialdm import instance as instances
from trialdm import settings as files
from trialdm import upkeep_commands, validation_commands
from trialdm.allocation_commands import allocation_group, document_file, write_document
from trialdm.approval_commands import approval_group, document_group, modification_group
from trialdm.audit_commands import audit_group
from trialdm.definitions import editor, protocols, sources
from trialdm.definitions import people as people_file
from trialdm.documents.page import Document
from trialdm.documents.page import html as document_html
from trialdm.documents.tables import as_csv
from trialdm.domain import errors, ethics, lifecycle
from trialdm.domain.errors import Broken, TrialError
from trialdm.domain.protocol import Protocol
from trialdm.domain.versions import compare
from trialdm.exports import package
from trialdm.form_commands import casebook_group, form_group, hold_group, import_form
from trialdm.identity_commands import DIFFERENT, identity_group, read_identity, vault_group
from trialdm.pathway_commands import guidance_group, organisation_group
from trialdm.people_commands import credential_group, delegation_group, training_group, who
from trialdm.query_commands import checks_group, query_group
from trialdm.rehearsal_commands import rehearse
from trialdm.report_commands import derived_items, entered_twice, reconsent, scheduled, screening_log
from trialdm.safety_commands import dictionary_group
from trialdm.services import (
    allocations,
    approvals,
    balance,
    cases,
    clocks,
    delegations,
    flow,
    gates,
    history,
    identities,
    imports,
    inbox,
    mail,
    monitoring,
    notices,
    outcomes,
    oversight,
    packages,
    participants,
    people,
    queries,
    recruitment,
    safety,
    sealing,
    studies,
    theatre,
    tickets,
    tokens,
    transfers,
    unblinding,
    versions,
)
from trialdm.services.unit import SYSTEM, Unit
from trialdm.terminal import PATH, Terminal, moment, pass_terminal, text_of, write_text
from trialdm.terminal import day as _day

Result = TypeVar("Result")

_EXIT: tuple[tuple[type[TrialError], int], ...] = (
    (errors.Broken, 5),
    (errors.VaultAway, 1),
    (errors.Conflict, 4),
    (errors.Forbidden, 3),
    (errors.Refused, 3),
    (errors.WrongState, 3),
    (errors.SignedOut, 3),
    (TrialError, 2),
)

#: Options that may stand before or after the command, and whether they take a value.
_GLOBAL = {"--instance": True, "--as": True, "--json": False}


def run(argv: Sequence[str]) -> int:
    """Run one command line and give its exit code."""
    terminal = Terminal()
    try:
        rest = _take_global(terminal, list(argv))
        code = main.main(rest, prog_name="trialdm", standalone_mode=False, obj=terminal)
        return code if isinstance(code, int) else 0
    except click.ClickException as problem:
        if terminal.as_json:
            click.echo(json.dumps({"code": "USAGE", "message": problem.format_message(), "needs": "", "details": []}))
        problem.show()
        return 2
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 2
    except files.NoInstance as problem:
        return _fail(terminal, errors.Missing(str(problem), code="INSTANCE.NONE"))
    except TrialError as problem:
        return _fail(terminal, problem)
    except BrokenPipeError:
        return 0
    finally:
        terminal.close()


def _take_global(terminal: Terminal, argv: list[str]) -> list[str]:
    """Options for all commands, wherever they stand before a lone `--`; gives the other words."""
    rest: list[str] = []
    while argv:
        word = argv.pop(0)
        if word == "--":
            return [*rest, word, *argv]
        name, equals, value = word.partition("=")
        if name not in _GLOBAL or (equals and not _GLOBAL[name]):
            rest.append(word)
            continue
        if _GLOBAL[name] and not equals:
            if not argv:
                raise click.UsageError(f"{name} needs a value")
            value = argv.pop(0)
        if name == "--json":
            terminal.as_json = True
        elif name == "--as":
            terminal.email = value
        else:
            terminal.folder = Path(value)
    return rest


def _fail(terminal: Terminal, problem: TrialError) -> int:
    if terminal.as_json:
        click.echo(json.dumps(_error_json(problem), ensure_ascii=False, indent=1))
    click.echo(f"{problem.code}: {problem.message}", err=True)
    for detail in problem.details:
        place = f"{detail.place}: " if detail.place else ""
        click.echo(f"  {place}{detail.message}" + (f" Needs: {detail.needs}" if detail.needs else ""), err=True)
    if problem.needs and not problem.details:
        click.echo(f"  Needs: {problem.needs}", err=True)
    return next(code for kind, code in _EXIT if isinstance(problem, kind))


def _error_json(problem: TrialError) -> dict[str, Any]:
    if isinstance(problem, imports.BadRows):
        return problem.outcome.to_json()
    said = {"code": problem.code, "message": problem.message, "needs": problem.needs, "details": [vars(d) for d in problem.details]}
    return {**said, **problem.shows}


def _report_file(context: Any, option: Any, out: Path) -> Path:
    """The name of a report's file, before anything is made for it: tables are CSV files, every other one a document."""
    name = context.params.get("name")
    if name not in _TABLES:
        return document_file(context, option, out)
    if out.suffix.lower() != ".csv":
        raise click.BadParameter(f"'{out}' must end in .csv: {name} is a table")
    return out


@click.group()
@click.version_option(trialdm.__version__, prog_name="trialdm")
def main() -> None:
    """Runs clinical trials: nothing happens that ethics has not approved here and today.

    Before or after each command may stand: --instance DIR (the folder with the data; ./instance where left out), --as EMAIL (whose
    account acts) and --json (answers for programs).
    """


# --- instances -------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--admin", required=True, help="E-mail address of the first system administrator.")
@click.option("--name", default="", help="Their name.")
@click.option("--database", default="", help="Database address; SQLite in the folder where left out.")
@click.option("--test", is_flag=True, help="A test instance, for trying out and for training: nothing in it is real.")
@pass_terminal
def init(terminal: Terminal, admin: str, name: str, database: str, test: bool) -> None:
    """Create an instance, and its first account."""
    opened = instances.create(terminal.folder, database_url=database, test=test)
    password, made = _password()
    opened.units.run(SYSTEM, lambda unit: people.first(unit, admin, name or admin.partition("@")[0], password))
    words = f"Created an instance in {terminal.folder} for {admin}."
    terminal.say({"email": admin, "password": password if made else None}, words + (f" Password: {password}" if made else ""))


def _password() -> tuple[str, bool]:
    """A password from the environment or typed in; made here where nobody can type one."""
    given = os.environ.get("TRIALDM_PASSWORD", "")
    if not given and sys.stdin.isatty():
        given = getpass.getpass("Password for this account (at least 12 characters): ")
    return (given, False) if given else (secrets.token_urlsafe(15), True)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=8, show_default=True, help="Threads that answer requests.")
@click.option("--although-unsafe", is_flag=True, help="Serve although 'selfcheck' finds stops: for trying out only.")
@pass_terminal
def serve(terminal: Terminal, host: str, port: int, workers: int, although_unsafe: bool) -> None:
    """Serve the pages and the API, with a worker for exports. A live instance that is unsafe is not served (see selfcheck)."""
    from trialdm import upkeep
    from trialdm.app import serve as serve_pages

    if not although_unsafe:
        upkeep.require_safe(terminal.instance)
    serve_pages(terminal.instance, host=host, port=port, threads=workers)


@main.command()
@pass_terminal
def migrate(terminal: Terminal) -> None:
    """Bring the database to the tables of this version."""
    from trialdm.store import engine, keys, migrate

    settings = files.load(terminal.folder)
    database = engine.connect(settings.database_url)
    try:
        migrate.upgrade(database)
    finally:
        database.dispose()
    keys.complete(settings.keys_folder)
    taken = terminal.instance.units.run(SYSTEM, sealing.take_over)
    told = f" {taken} rows were sealed as they are." if taken else ""
    terminal.say({"revision": migrate.newest(), "sealed_rows": taken}, f"The database stands at {migrate.newest()}.{told}")


@main.command()
@click.option("--participants", "count", default=220, show_default=True, type=click.IntRange(1, 5000))
@click.option("--seed", default=1, show_default=True)
@click.option("--today", callback=_day, help="Pin the demonstration's calendar to this day.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--no-serve", is_flag=True, help="Only build it.")
@click.option("--fresh", is_flag=True, help="Build it anew, replacing the demonstration in the folder.")
@pass_terminal
def demo(terminal: Terminal, count: int, seed: int, today: date | None, port: int, no_serve: bool, fresh: bool) -> None:
    """Fill an instance with a simulated run of the PRE-TMR trial, and serve it."""
    from trialdm.demo import build

    if terminal.folder == files.default_folder() and "TRIALDM_INSTANCE" not in os.environ:
        terminal.folder = files.default_folder() / "demo"
    opened = build.ready(terminal.folder, participants=count, seed=seed, today=today, fresh=fresh, say=_progress)
    sign_ins = json.loads((terminal.folder / build.SIGN_INS).read_text("utf-8"))
    address = f"http://127.0.0.1:{port}/"
    lines = [f"{entry['role']:24} {entry['site'] or '-':4} {entry['email']:44} {entry['password']}" for entry in sign_ins]
    terminal.say({"address": address, "sign_ins": sign_ins}, "\n".join([*lines, "", f"Address: {address}"]))
    if not no_serve:
        from trialdm.app import serve as serve_pages

        serve_pages(opened, host="127.0.0.1", port=port, threads=8)


def _progress(words: str) -> None:
    """Progress on one line of a terminal; a line each where it goes into a file."""
    again = words.startswith("\r") and sys.stderr.isatty()
    click.echo(words if again else words.lstrip("\r"), err=True, nl=not again)


# --- people ----------------------------------------------------------------------------------------------------------


@main.group("user")
def user_group() -> None:
    """Accounts."""


@user_group.command("add")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--role", "role_names", multiple=True, required=True, help="A role; may be given several times.")
@click.option("--site", default="", help="Site, for site roles.")
@click.option("--trial", default="*", show_default=True, help="Trial; every trial of the instance where left out.")
@pass_terminal
def user_add(terminal: Terminal, email: str, name: str, role_names: tuple[str, ...], site: str, trial: str) -> None:
    """Invite somebody, with a role. They set their own password by the code."""

    def work(unit: Unit) -> str:
        account = people.add(unit, email, name, held=[(role, site) for role in role_names], trial=trial)
        return tickets.issue(unit, account, "invitation", trial=trial)

    _say_code(terminal, email, terminal.change(work))


def _say_code(terminal: Terminal, email: str, code: str) -> None:
    """The code, where no mail takes it to its person alone."""
    if terminal.instance.settings.sends_codes:
        terminal.say({"email": email, "code": None}, f"A code is on its way to {email}.")
        return
    words = f"Code for {email}: {code}\nFor them alone. With it they set their password on the page /password/set."
    terminal.say({"email": email, "code": code}, words)


@user_group.command("code")
@click.argument("email")
@click.option("--kind", type=click.Choice(tuple(tickets.KINDS)), default="invitation", show_default=True)
@click.option("--reason", default="", help="For lost second factors: how it is known that this person asks.")
@pass_terminal
def user_code(terminal: Terminal, email: str, kind: str, reason: str) -> None:
    """A new code by which somebody sets their own password: an invitation or a reset. A closed account is opened again so."""
    by_mail = terminal.instance.settings.sends_codes
    _say_code(
        terminal, email, terminal.change(lambda unit: tickets.issue(unit, people.by_email(unit, email), kind, reason, by_mail=by_mail))
    )


@user_group.command("password")
@click.argument("code")
@pass_terminal
def user_password(terminal: Terminal, code: str) -> None:
    """Set one's own password by the code of an invitation or reset: from TRIALDM_PASSWORD, or typed, or made and shown once."""
    password, made = _password()
    email = terminal.instance.units.run(SYSTEM, lambda unit: tickets.use(unit, code, password)).email
    terminal.say({"email": email, "password": password if made else None}, "Your password is set." + (f" It is {password}" if made else ""))


@user_group.command("close")
@click.argument("email")
@click.option("--reason", required=True)
@pass_terminal
def user_close(terminal: Terminal, email: str, reason: str) -> None:
    """Close an account at once: its sessions end and its tokens are worth nothing."""
    terminal.change(lambda unit: people.close(unit, people.by_email(unit, email), reason))
    terminal.say({"email": email, "state": "closed"}, f"The account {email} is closed.")


@user_group.command("give")
@click.argument("email")
@click.argument("role")
@click.option("--site", default="", help="Site, for site roles.")
@click.option("--trial", default="*", show_default=True, help="Trial; every trial of the instance where left out.")
@pass_terminal
def user_give(terminal: Terminal, email: str, role: str, site: str, trial: str) -> None:
    """Give somebody a further role."""
    terminal.change(lambda unit: people.give(unit, people.by_email(unit, email), role, trial, site))
    terminal.say({"email": email, "role": role, "site": site}, f"{email} is {role} now{f' at {site}' if site else ''}.")


@user_group.command("end")
@click.argument("email")
@click.argument("role")
@click.option("--site", default="", help="Site, for site roles.")
@click.option("--trial", default="*", show_default=True, help="Trial for which the role was given.")
@pass_terminal
def user_end(terminal: Terminal, email: str, role: str, site: str, trial: str) -> None:
    """Take a role from somebody; their next request is refused."""
    terminal.change(lambda unit: people.end_role(unit, people.by_email(unit, email), role, trial, site))
    terminal.say({"email": email, "role": role, "site": site}, f"{email} is no longer {role}{f' at {site}' if site else ''}.")


@user_group.command("list")
@pass_terminal
def user_list(terminal: Terminal) -> None:
    """List accounts with their roles."""

    def work(unit: Unit) -> list[Mapping[str, Any]]:
        unit.require("people.see", "*")
        return [people.describe(account, held) for account, held in people.everybody(unit)]

    rows = terminal.read(work)
    lines = [f"{r['email']:40} {r['name']:28} " + ", ".join(f"{h['role']} {h['site']}".strip() for h in r["roles"]) for r in rows]
    terminal.say(rows, "\n".join(lines))


@main.group("people")
def people_group() -> None:
    """Delegation, training and credentials."""


@people_group.command("load")
@click.argument("file", type=PATH)
@pass_terminal
def people_load(terminal: Terminal, file: Path) -> None:
    """Load accounts, delegation and training from a YAML file."""
    text = text_of(file)
    source, _ = sources.read(file.name, text)
    trial = source.data.get("trial", "") if isinstance(source.data, dict) else ""

    def work(unit: Unit) -> list[tuple[str, str]]:
        return delegations.load(unit, trial, people_file.load_people(file.name, text, studies.protocol(unit, trial)))

    created = terminal.change(work)
    shown = [(email, None if terminal.instance.settings.sends_codes else code) for email, code in created]
    words = "\n".join(f"Invited {email}." + (f" Code: {code}" if code else "") for email, code in shown) or "Loaded; no new account."
    terminal.say({"created": [{"email": email, "code": code} for email, code in shown]}, words)


for _command in (delegation_group, who, training_group, credential_group, identity_group, vault_group):
    main.add_command(_command)


@main.group("token")
def token_group() -> None:
    """API tokens."""


@token_group.command("create")
@click.argument("email")
@click.option("--label", default="command line", show_default=True)
@click.option("--for", "scopes", multiple=True, type=click.Choice(tuple(tokens.SCOPES)), help="What it is for; everything where left out.")
@click.option("--days", default=tokens.DAYS, show_default=True, help="Days until it ends.")
@pass_terminal
def token_create(terminal: Terminal, email: str, label: str, scopes: tuple[str, ...], days: int) -> None:
    """Create a token for programs; it is shown once."""
    token = terminal.change(lambda unit: tokens.create(unit, people.by_email(unit, email), label, scopes or tuple(tokens.SCOPES), days))
    terminal.say({"email": email, "token": token}, token)


@token_group.command("list")
@pass_terminal
def token_list(terminal: Terminal) -> None:
    """One's own tokens, each by the start of its hash."""
    rows = terminal.read(lambda unit: [tokens.describe(row) for row in tokens.own(unit)])
    lines = [f"{row['id']}  {row['expires_at'] or ''}  {row['label']}: {', '.join(row['scopes'])}" for row in rows]
    terminal.say(rows, "\n".join(lines) or "No token.")


@token_group.command("end")
@click.argument("token")
@pass_terminal
def token_end(terminal: Terminal, token: str) -> None:
    """End one of one's own tokens, named as in the list."""
    terminal.change(lambda unit: tokens.end(unit, token))
    terminal.say({"id": token}, "The token has ended.")


# --- protocol and ethics ---------------------------------------------------------------------------------------------


@main.group("protocol")
def protocol_group() -> None:
    """Protocol files."""


@protocol_group.command("check")
@click.argument("path", type=PATH)
@pass_terminal
def protocol_check(terminal: Terminal, path: Path) -> None:
    """Check the files of a protocol; every error as FILE:LINE: message."""
    found = _protocol_of(terminal, path)
    items = sum(len(form.items) for form in found.forms)
    counts = {"trial": found.id, "version": found.version, "forms": len(found.forms), "items": items, "problems": []}
    terminal.say(counts, f"{found.id} {found.version}: {len(found.forms)} forms, {items} items, no problem.")


def _protocol_of(terminal: Terminal, path: Path) -> Any:
    try:
        return protocols.load_protocol(sources.read_folder(path))
    except sources.BadDefinition as bad:
        for problem in bad.problems:
            click.echo(f"{path.parent / problem.file}:{problem.line}: {problem.message}", err=terminal.as_json)
        raise


@protocol_group.command("load")
@click.argument("path", type=PATH)
@pass_terminal
def protocol_load(terminal: Terminal, path: Path) -> None:
    """Load a protocol into the instance: a new trial, the next version of a draft, or a proposal for a running trial."""

    def work(unit: Unit) -> tuple[Protocol, bool]:
        found = studies.load(unit, sources.read_folder(path))
        waits = any(row.version == found.version and row.state == "proposed" for row in versions.proposed(unit, found.id))
        return found, waits

    loaded, waits = terminal.change(work)
    state = "proposed" if waits else "in_force"
    words = f"Loaded {loaded.id}, protocol {loaded.version}."
    if waits:
        words += (
            " It is proposed: nothing changes until a site takes it up.\n"
            f"See what it would affect: trialdm protocol impact {loaded.id} --version {loaded.version}\n"
            "Then have it approved as a modification, and implement that at each site."
        )
    terminal.say({"trial": loaded.id, "version": loaded.version, "state": state}, words)


@protocol_group.command("diff")
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@pass_terminal
def protocol_diff(terminal: Terminal, old: Path, new: Path) -> None:
    """What differs between two folders of protocol files, and what it means for earlier answers. Needs no instance."""
    before, after = _both(terminal, old, new)
    found = compare(before, after)
    lines = [f"{one.effect:7} {one.words}" for one in found] or ["Nothing differs."]
    terminal.say({"old": before.version, "new": after.version, "differences": [one.to_json() for one in found]}, "\n".join(lines))


def _both(terminal: Terminal, old: Path, new: Path) -> tuple[Protocol, Protocol]:
    """The protocols of two folders, after the problems of both were told."""
    found: list[Protocol] = []
    problems: list[sources.Problem] = []
    for path in (old, new):
        try:
            found.append(_protocol_of(terminal, path))
        except sources.BadDefinition as bad:
            problems += bad.problems
    if problems:
        raise sources.BadDefinition(problems)
    return found[0], found[1]


@protocol_group.command("impact")
@click.argument("trial")
@click.option("--version", "wanted", default="", help="The version; the newest one that waits where left out.")
@pass_terminal
def protocol_impact(terminal: Terminal, trial: str, wanted: str) -> None:
    """What a version of the protocol would change, and what of that touches forms that are saved."""

    def work(unit: Unit) -> versions.Impact:
        rows = versions.listed(unit, trial) if wanted else versions.proposed(unit, trial)
        row = next((row for row in rows if wanted in ("", row.version)), None)
        if row is None:
            missing = f"has no version {wanted}" if wanted else "has no version that waits"
            raise errors.Missing(f"Trial {trial} {missing}.", code="VERSION.UNKNOWN", needs="'protocol load' proposes one.")
        return versions.impact(unit, trial, row.seq)

    found = terminal.read(work)
    lines = [f"Version {found.version.version} of {trial} ({found.version.state.replace('_', ' ')}), compared with {found.against}"]
    for one in found.touched:
        lines.append(f"{one.difference.effect:7} {one.difference.words}" + (f" Saved forms: {one.forms}." if one.forms else ""))
    lines += [f"{len(found.exports)} changes of export tables and columns."]
    for counts, words in ((found.unmet_by_form, "complete forms would not pass"), (found.owed_by_form, "new forms are owed")):
        named = ", ".join(f"{form} {count}" for form, count in counts.items())
        lines.append(f"{sum(counts.values())} {words}" + (f": {named}." if named else "."))
    if found.withheld:
        lines.append(f"{found.withheld} differences in forms that are hidden from blinded roles are not shown.")
    terminal.say(found.to_json(), "\n".join(lines))


@protocol_group.command("schema")
@click.argument("folder", type=PATH)
def protocol_schema(folder: Path) -> None:
    """Write the JSON Schemas that help editors with the definition files."""
    for name in editor.write(folder):
        click.echo(name)


@main.group("ethics")
def ethics_group() -> None:
    """Approvals and documents."""


@ethics_group.command("load")
@click.argument("path", type=PATH)
@pass_terminal
def ethics_load(terminal: Terminal, path: Path) -> None:
    """Add the approvals and documents of an ethics folder to the register.

    While the trial is set up, the second checks that the folder names count. Later, decisions wait for the check of a second account.
    """
    texts = sources.read_folder(path)
    trial = _trial_of(texts) or path.resolve().name
    letters = sources.read_letters(path)

    def work(unit: Unit) -> tuple[int, int]:
        return approvals.load(unit, trial, texts, letters=letters), len(approvals.waiting(unit, trial))

    added, waiting = terminal.change(work)
    checks = f" {waiting} of the register's decisions wait for the check of a second person ('approval check')." if waiting else ""
    terminal.say({"added": added, "waiting": waiting}, f"Added {added} entries to the register.{checks}")


def _trial_of(texts: Mapping[str, str]) -> str:
    """The trial that the first file which says so belongs to."""
    data = [sources.read(name, text)[0].data for name, text in texts.items()]
    return next((str(found["trial"]) for found in data if isinstance(found, dict) and found.get("trial")), "")


@ethics_group.command("status")
@click.argument("trial")
@click.option("--site", default="")
@click.option("--on", callback=_day)
@pass_terminal
def ethics_status(terminal: Terminal, trial: str, site: str, on: date | None) -> None:
    """The register of approvals and documents as it stood on a day."""
    rows = terminal.read(lambda unit: approvals.as_of(unit, trial, on or unit.today, site), anybody=True)
    mark = {True: "in force", False: "NOT in force"}
    lines = [f"{r['body']:16} {r['site']:6} {mark[r['in_force']]:13} {r['status']} {r['ref']}" for r in rows]
    terminal.say(rows, "\n".join(lines))


for _command in (approval_group, document_group, modification_group, organisation_group, guidance_group):
    main.add_command(_command)


@main.command()
@click.argument("trial")
@click.argument("action", type=click.Choice(list(ethics.ACTIONS)))
@click.option("--site", default="")
@click.option("--on", callback=_day)
@click.option("--participant", default="")
@pass_terminal
def gate(terminal: Terminal, trial: str, action: str, site: str, on: date | None, participant: str) -> None:
    """May this be done here on this day? Exit 0 allowed, 3 refused, with every reason."""
    answer = terminal.read(lambda unit: participants.gate(unit, trial, action, site=site, on=on, participant=participant), anybody=True)
    lines = ["Allowed." if answer.allowed else "Refused."]
    lines += [f"{r.rule} ({r.severity}): {r.message}\n    Needs: {r.needs}" for r in answer.reasons]
    lines += [f"Not evaluated: {', '.join(answer.not_evaluated)}"] if answer.not_evaluated else []
    terminal.say(answer.to_json(), "\n".join(lines))
    if not answer.allowed:
        raise click.exceptions.Exit(3)


@main.command("deadlines")
@click.argument("trial")
@pass_terminal
def deadlines_list(terminal: Terminal, trial: str) -> None:
    """What is due in a trial, by which day, and who owes it."""
    found, now = terminal.read(lambda unit: (clocks.listed(unit, trial), clocks.now(unit)))
    rows = [clocks.describe(deadline, now) for deadline in found]
    words = [f"{row['due']:<20} {row['state']:<8} {row['rule']} {row['title']} {row['site']}".rstrip() for row in rows]
    terminal.say(rows, "\n".join(words) or "Nothing is due.")


@main.command("gate-replay")
@click.argument("trial")
@pass_terminal
def gate_replay(terminal: Terminal, trial: str) -> None:
    """Give every kept answer of the gate again, from the register as it stood then; exit 5 where one is different."""
    found = terminal.read(lambda unit: list(gates.replay(unit, trial)))
    different = [row for row in found if row.different]
    rows = [{"act": row.act, "subject": row.subject, "at": row.at.isoformat(), "different": row.different} for row in different]
    words = [f"{len(found)} kept answers given again, {len(different)} different."]
    words += [f"{row['at']} {row['act']} {row['subject']}: {row['different']}" for row in rows]
    terminal.say({"answers": len(found), "different": rows}, "\n".join(words))
    if different:
        raise Broken(f"{len(different)} kept answers of the gate are different now.", code="GATE.REPLAY")


@main.group("trial")
def trial_group() -> None:
    """Trials."""


@trial_group.command("move")
@click.argument("trial")
@click.argument("event")
@click.option("--reason", default="")
@pass_terminal
def trial_move(terminal: Terminal, trial: str, event: str, reason: str) -> None:
    """Take a step of the trial's lifecycle: configure, submit, approve, open, pause, resume, close ..

    'lock' asks for the lock of the database: the trial is locked once a second person confirms it with 'hold move TRIAL lock'.
    """
    state = terminal.change(lambda unit: gates.move_trial(unit, trial, event, reason=reason))
    asked = event == "lock" and state != "locked"
    words = f"The lock is asked for, and no form of {trial} is saved any more. {gates.SECOND}"
    terminal.say({"trial": trial, "state": state}, words if asked else f"{trial} is now {lifecycle.label(state)}.")


@trial_group.command("unblind")
@click.argument("trial")
@pass_terminal
def trial_unblind(terminal: Terminal, trial: str) -> None:
    """Ask to unblind the whole trial, or confirm what another person asked for. The database must be locked."""
    state = terminal.change(lambda unit: unblinding.end_of_trial(unit, trial))
    words = {"asked": f"Asked. Another person confirms it with the same command: {trial} is still blinded."}
    terminal.say({"trial": trial, "blinding": state}, words.get(state, f"{trial} is now unblinded."))


@main.group("site")
def site_group() -> None:
    """Sites."""


@site_group.command("move")
@click.argument("trial")
@click.argument("site")
@click.argument("event")
@click.option("--reason", default="")
@pass_terminal
def site_move(terminal: Terminal, trial: str, site: str, event: str, reason: str) -> None:
    """Take a step of a site's lifecycle: select, set-up, confirm, green-light, activate, suspend, close .."""
    state = terminal.change(lambda unit: gates.move_site(unit, trial, site, event, reason=reason))
    terminal.say({"site": site, "state": state}, f"Site {site} is now {lifecycle.label(state)}.")


# --- participants and forms ------------------------------------------------------------------------------------------


@main.group("participant")
def participant_group() -> None:
    """Participants."""


@participant_group.command("add")
@click.argument("trial")
@click.option("--site", required=True)
@click.option("--identity", "file", type=PATH, help="JSON file with who it is, or - for standard input; for trials with identity: vault.")
@click.option("--later", default="", help="Why the identity is to follow, in place of it.")
@DIFFERENT
@pass_terminal
def participant_add(terminal: Terminal, trial: str, site: str, file: Path | None, later: str, different: str) -> None:
    """Add a participant under a fresh pseudonym."""
    given = read_identity(file)

    def work(unit: Unit) -> dict[str, Any]:
        return participants.describe(identities.add(unit, trial, site, given, later=later, different=different), "screened")

    row = terminal.change(work)
    terminal.say(row, row["participant"])


@participant_group.command("transfer")
@click.argument("trial")
@click.argument("participant")
@click.option("--site", required=True, help="The site that looks after the participant from now on.")
@click.option("--day", "on", required=True, callback=_day, help="Day of the transfer, such as 2026-03-01.")
@click.option("--reason", required=True, help="Why, in a sentence without names.")
@pass_terminal
def participant_transfer(terminal: Terminal, trial: str, participant: str, site: str, on: date, reason: str) -> None:
    """Record that a participant moved to another site."""

    def work(unit: Unit) -> dict[str, Any]:
        row = transfers.transfer(unit, trial, participant, site, on, reason)
        return participants.describe(row, participants.state(unit, trial, row))

    row = terminal.change(work)
    terminal.say(row, f"{row['participant']} is at site {row['site']} now.")


@participant_group.command("list")
@click.argument("trial")
@pass_terminal
def participant_list(terminal: Terminal, trial: str) -> None:
    """List the participants that the account may see."""
    rows = terminal.read(lambda unit: [participants.describe(row, state) for row, state in participants.listed(unit, trial)])
    terminal.say(rows, "\n".join(f"{r['participant']}  {r['site']}  {r['state']}" for r in rows))


for _command in (scheduled, screening_log, reconsent, derived_items, entered_twice):
    main.add_command(_command)


@main.command()
@click.argument("trial")
@click.argument("participant")
@click.option("--key", required=True, help="Idempotency key: the same key gives the same answer again.")
@click.option("--scheme", default="", help="A later randomisation; the trial's first one where left out.")
@pass_terminal
def randomise(terminal: Terminal, trial: str, participant: str, key: str, scheme: str) -> None:
    """Randomise one participant, once."""
    allocated, _ = terminal.change(lambda unit: allocations.randomise(unit, trial, participant, key, name=scheme))
    answer = allocated.to_json()
    arm = f", arm {answer['arm']}" if "arm" in answer else ""
    terminal.say(answer, f"{answer['participant']} is randomised as {answer['number']} at {answer['at']}{arm}.")


# --- unblinding and the day of surgery -------------------------------------------------------------------------------


@main.command()
@click.argument("trial")
@click.argument("participant")
@click.option("--reason", default="", help="Why the allocation is needed; one word is enough.")
@click.option("--code", default="1", show_default=True, type=click.Choice(["1", "2"]), help="1 emergency care, 2 serious adverse event.")
@click.option("--drill", is_flag=True, help="Practise it: people are told, no allocation is shown.")
@click.option("--planned", "visit", default="", metavar="VISIT", help="Not an emergency: the participant is told, at or after this visit.")
@pass_terminal
def unblind(terminal: Terminal, trial: str, participant: str, reason: str, code: str, drill: bool, visit: str) -> None:
    """Unblind one participant in an emergency, at any hour, without asking anybody; a reason is needed."""
    if visit and (drill or reason):
        raise click.UsageError("--planned goes with neither --reason nor --drill")
    if visit:
        found = terminal.change(lambda unit: unblinding.planned(unit, trial, participant, visit))
    else:
        found = terminal.change(lambda unit: unblinding.emergency(unit, trial, participant, reason, int(code), drill=drill))
    shown = "no allocation is shown in a drill" if drill else f"{found.arm} ({found.label})"
    terminal.say(found.to_json(), f"{'DRILL: ' if drill else ''}{found.participant}, {found.number}: {shown}.")


@main.group("unblinding")
def unblinding_group() -> None:
    """Who has learned which allocation."""


@unblinding_group.command("log")
@click.argument("trial")
@pass_terminal
def unblinding_log(terminal: Terminal, trial: str) -> None:
    """Who learned which allocation when and why; never the arm."""
    rows = terminal.read(lambda unit: unblinding.log(unit, trial))
    terminal.say(rows, "\n".join(f"{r['at']}  {r['participant']}  {r['site']}  {r['kind']:10} {r['person']}" for r in rows))


@main.group("theatre")
def theatre_group() -> None:
    """The day of surgery."""


@theatre_group.command("confirm")
@click.argument("trial")
@click.argument("participant")
@click.option("--side", required=True, help="As read from patient and consent form: code or words.")
@click.option("--limb", required=True)
@click.option("--level", required=True)
@pass_terminal
def theatre_confirm(terminal: Terminal, trial: str, participant: str, side: str, limb: str, level: str) -> None:
    """Compare side, limb and level with the plan; the allocation is shown where all agree."""
    found = {"side": side, "limb": limb, "level": level}
    allocated = terminal.change(lambda unit: theatre.confirm(unit, trial, participant, found)).require()
    terminal.say(
        {"participant": allocated.participant, "agrees": True, "number": allocated.number, "at": allocated.at, "arm": allocated.arm},
        f"Side, limb and level agree. {allocated.participant}, {allocated.number}: {allocated.arm} ({allocated.label}).",
    )


@main.group("notices")
def notices_group() -> None:
    """The inbox of the account."""


@notices_group.command("list")
@pass_terminal
def notices_list(terminal: Terminal) -> None:
    """List the notices to this account, newest first."""
    found = terminal.read(lambda unit: [message.to_json() for message in notices.inbox(unit)])
    lines = [f"{'   ' if m['read_at'] else 'new'}  {m['id']}  {m['made_at']}  {m['subject']}" for m in found]
    terminal.say(found, "\n".join(lines) or "No notices.")


@notices_group.command("waiting")
@pass_terminal
def notices_waiting(terminal: Terminal) -> None:
    """What waits for this account: deadlines, signatures, checks; the most urgent first."""
    found = terminal.read(inbox.waiting)
    rows = [{**one.to_json(), "due": one.due.isoformat() if one.due else None} for one in found]
    lines = []
    for row in rows:
        when = f"{row['due'] or '':<10} {'late' if row['late'] else '':<4}"
        lines.append(f"{when} {row['trial']} {row['site']:<4} {inbox.KINDS[row['kind']]}: {row['what']}")
    terminal.say(rows, "\n".join(lines) or "Nothing waits for you.")


@notices_group.command("read")
@click.argument("ident")
@pass_terminal
def notices_read(terminal: Terminal, ident: str) -> None:
    """Read one notice, and note that it was read."""
    found = terminal.change(lambda unit: notices.read(unit, ident).to_json())
    terminal.say(found, f"{found['subject']}\n\n{found['text']}")


@main.group("mail")
def mail_group() -> None:
    """Mails that tell people of notices."""


@mail_group.command("status")
@pass_terminal
def mail_status(terminal: Terminal) -> None:
    """How many mails wait, were sent, or failed."""
    configured = terminal.instance.settings.mail is not None
    found = {"configured": configured, **terminal.read(mail.status, anybody=True)}
    words = f"{found['waiting']} waiting, {found['sent']} sent, {found['failed']} failed."
    terminal.say(found, words + ("" if configured else " No mail server is set: mails wait until settings.toml has a table [mail]."))


@main.command("import-history")
@click.argument("trial")
@click.argument("file", type=PATH)
@pass_terminal
def import_history(terminal: Terminal, trial: str, file: Path) -> None:
    """Load the data file of a historical trial: participants, forms and allocations."""
    text = text_of(file)
    count = terminal.change(lambda unit: history.load(unit, trial, text))
    terminal.say({"participants": count}, f"Loaded {count} participants.")


# --- allocation ------------------------------------------------------------------------------------------------------


for _command in (form_group, import_form, casebook_group, hold_group):
    main.add_command(_command)


for _command in (upkeep_commands.selfcheck, upkeep_commands.backup, upkeep_commands.restore, upkeep_commands.grants):
    main.add_command(_command)

main.add_command(validation_commands.pack)
main.add_command(allocation_group)
main.add_command(audit_group)
main.add_command(rehearse)
main.add_command(query_group)
main.add_command(checks_group)
main.add_command(dictionary_group)


# --- reports ---------------------------------------------------------------------------------------------------------


#: Reports that are tables -> what writes them as CSV, given whether they are split by arm.
_TABLES: dict[str, Callable[[Unit, str, bool], str]] = {
    "RP-01": lambda unit, trial, _: as_csv(recruitment.table(recruitment.by_site(unit, trial))),
    "RP-02": lambda unit, trial, split: as_csv(flow.table(flow.by_arm(unit, trial) if split else flow.pooled(unit, trial))),
    "RP-03": lambda unit, trial, _: as_csv(monitoring.lines(monitoring.due(unit, trial)), monitoring.DUE_COLUMNS),
    "RP-04": lambda unit, trial, _: as_csv(queries.ageing(unit, trial).table()),
    "RP-05": lambda unit, trial, _: as_csv(safety.serious_table(unit, trial), safety.SERIOUS_COLUMNS),
    "RP-06": lambda unit, trial, _: as_csv(safety.clocks_table(unit, trial), safety.CLOCK_COLUMNS),
    "RP-09": lambda unit, trial, _: as_csv(monitoring.table(monitoring.by_site(unit, trial))),
    "RP-17": lambda unit, trial, _: outcomes.minimum_set(unit, trial),
}


@main.command()
@click.argument("name", type=click.Choice(("balance", *_TABLES, "RP-13", "RP-14", "RP-18", "RP-19")), is_eager=True)
@click.argument("trial")
@click.option("--scheme", default="", help="balance: scheme; the trial's first one where left out.")
@click.option("--operator", type=int, help="RP-18: number of the operator.")
@click.option("--site", default="", help="RP-19: code of the organisation.")
@click.option("--by-arm", is_flag=True, help="RP-02: by arm, for those who read allocations; it is recorded.")
@click.option(
    "--out", required=True, type=PATH, callback=_report_file, help="File to write: .html or .pdf; RP-01 to RP-06, RP-09, RP-17: .csv."
)
@pass_terminal
def report(terminal: Terminal, name: str, trial: str, scheme: str, operator: int | None, site: str, by_arm: bool, out: Path) -> None:
    """Write a report. balance: achieved balance, ledger against allocations, order of events; for the unblinded statistician.

    RP-01: recruitment by site and month beside the target. RP-02: the participant flow (CONSORT 2025). RP-03: the
    forms that are due. RP-04: queries by age. RP-09: sites compared by completeness.

    RP-05: serious adverse events line by line, everybody together. RP-06: the clocks about safety with their lights.

    RP-13: approvals, versions by site, conditions and the next deadlines. RP-14: training and delegation, what runs out and gaps.

    Of the treatment pathway, RP-17: the audit minimum set of the cases that you see. RP-18: an operator's outcomes for the annual
    appraisal. RP-19: what a review at an organisation needs.
    """
    if by_arm and name != "RP-02":
        raise click.UsageError("--by-arm goes with RP-02 only")
    if name in _TABLES:
        write_text(out, terminal.change(lambda unit: _TABLES[name](unit, trial, by_arm)))
    else:
        write_document(out, document_html(terminal.change(lambda unit: _report(unit, name, trial, scheme, operator, site))))
    out.chmod(0o600)
    terminal.say({"trial": trial, "report": name, "file": str(out)}, f"Wrote {out}.")


#: Reports that need nothing but the trial.
_OF_TRIALS = {"RP-13": oversight.approvals_and_documents, "RP-14": oversight.training_and_delegation}


def _report(unit: Unit, name: str, trial: str, scheme: str, operator: int | None, site: str) -> Document:
    if name == "balance":
        return balance.report(unit, trial, name=scheme)
    if name in _OF_TRIALS:
        return _OF_TRIALS[name](unit, trial)
    cases.require_pathway(unit, trial)
    if name == "RP-18":
        if operator is None:
            raise errors.Invalid("Say whose appraisal it is.", code="REPORT.OPERATOR", needs="--operator and the operator's number.")
        return outcomes.appraisal(unit, trial, operator)
    if not site:
        raise errors.Invalid("Say which organisation reviews.", code="REPORT.SITE", needs="--site and the organisation's code.")
    return outcomes.review_pack(unit, trial, site)


# --- exports and audit -----------------------------------------------------------------------------------------------


@main.command()
@click.argument("trial")
@click.option("--out", required=True, type=PATH, help="Folder for the package; must be empty.")
@click.option("--formats", default=",".join(packages.FORMATS), show_default=True)
@click.option("--as-of", callback=moment, help="Data as they stood at this moment; the last change where left out.")
@click.option("--blinding", default="blinded", show_default=True)
@click.option("--layout", default="long", show_default=True)
@click.option("--reason", default="")
@pass_terminal
def export(
    terminal: Terminal, trial: str, out: Path, formats: str, as_of: datetime | None, blinding: str, layout: str, reason: str
) -> None:
    """Export one package of data files, with its codebook and manifest."""
    asked = packages.Request(tuple(f.strip() for f in formats.split(",") if f.strip()), blinding, layout, as_of, reason)

    def work(unit: Unit) -> dict[str, Any]:
        return packages.write(unit, trial, out, asked, lambda step: click.echo(f"  {step}", err=True))

    manifest = terminal.read(work)
    terminal.change(lambda unit: packages.record(unit, trial, asked, manifest))
    rows = sum(table["rows"] for table in manifest["tables"])
    terminal.say(manifest, f"Wrote {len(manifest['files'])} files, {len(manifest['tables'])} tables, {rows} rows to {out}, all read back.")


@main.command("export-verify")
@click.argument("folder", type=PATH)
@pass_terminal
def export_verify(terminal: Terminal, folder: Path) -> None:
    """Read every file of a package again and compare it with the manifest. Needs no instance."""
    found = package.verify_package(folder)
    terminal.say(found, f"{folder}: every file agrees with the manifest.")
