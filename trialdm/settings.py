"""What an instance is: a folder with its settings, keys, database and files. Stands free of everything else."""

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FILE = "settings.toml"


class NoInstance(Exception):
    """There is no instance in the folder, or its settings cannot be read; the message says which and the mend."""


@dataclass(frozen=True)
class Mail:
    """The mail server by which people are told that a notice waits for them (table `[mail]`)."""

    host: str
    port: int
    sender: str
    starttls: bool = True


@dataclass(frozen=True)
class Oidc:
    """Another sign-in service, by OpenID Connect (table `[oidc]`).

    `name` is what its button says; `acr` the classes of authentication by which it asked for a second factor.
    """

    issuer: str
    client_id: str
    client_secret: str
    name: str
    acr: tuple[str, ...] = ()


@dataclass(frozen=True)
class Anchors:
    """Where checkpoints of the trail are given away each day (table `[anchors]`): a folder that others keep, mails to the sponsor, and a
    time-stamp service (RFC 3161) with the file of the certificates that its stamps lead to.
    """

    folder: Path | None = None
    mail: bool = False
    stamp_address: str = ""
    stamp_certificates: Path | None = None


@dataclass(frozen=True)
class Vault:
    """Where identities are kept, for trials with `identity: vault` (table `[vault]`).

    `mode` is `inside` (in this service: for demonstrations and tests) or `process` (behind `socket`, kept by another user of the
    system). The vault's own process reads the same table from an instance folder of its own.
    """

    folder: Path
    database_url: str
    socket: Path
    token: Path
    mode: str = "inside"
    socket_mode: str = "0600"
    allowed_uids: tuple[int, ...] = ()
    views_per_hour: int = 5
    orphan_minutes: int = 10


@dataclass(frozen=True)
class Settings:
    """Settings of one instance. `today` pins the calendar of a demonstration; None is the real day.

    Nothing is real in a demonstration, nor in a `test` instance: their allocation schemes are of no use in a live one, and their
    accounts need no second factor. `idle` is how long a session lasts unused, `address` where people reach the service.
    """

    folder: Path
    database_url: str
    vault: Vault
    demo: bool = False
    test: bool = False
    today: date | None = None
    secure_cookies: bool = False
    second_factor: bool = True
    idle: timedelta = timedelta(minutes=30)
    address: str = ""
    mail: Mail | None = None
    oidc: Oidc | None = None
    anchors: Anchors = Anchors()

    @property
    def world(self) -> str:
        """`live`, or `test` where nothing is real."""
        return "test" if self.demo or self.test else "live"

    @property
    def sends_codes(self) -> bool:
        """Whether codes of invitations and resets go by mail, so that nobody else sees them."""
        return self.mail is not None and bool(self.address)

    @property
    def keys_folder(self) -> Path:
        return self.folder / "keys"

    @property
    def exports_folder(self) -> Path:
        return self.folder / "exports"


def default_folder() -> Path:
    """The folder from the environment variable TRIALDM_INSTANCE, else `instance` below the working folder."""
    return Path(os.environ.get("TRIALDM_INSTANCE") or "instance")


def exists(folder: Path) -> bool:
    return (folder / FILE).is_file()


#: Everything that a file of settings may hold.
_KNOWN = set("database_url demo test today secure_cookies second_factor idle_minutes address mail oidc anchors vault".split())


def load(folder: Path) -> Settings:
    """The settings of an instance. Raises NoInstance."""
    folder = folder.resolve()
    path = folder / FILE
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NoInstance(
            f"There is no trialdm instance in {folder}. Create one with 'trialdm init' or 'trialdm demo', "
            "or name another folder with --instance."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as problem:
        raise NoInstance(f"{path} cannot be read: {problem}") from None
    unknown = set(raw) - _KNOWN
    if unknown:
        raise NoInstance(f"{path}: unknown setting '{sorted(unknown)[0]}'")
    return Settings(
        folder=folder,
        database_url=raw.get("database_url") or f"sqlite:///{folder / 'trialdm.db'}",
        vault=_vault(path, raw.get("vault", {})),
        demo=bool(raw.get("demo", False)),
        test=bool(raw.get("test", False)),
        today=raw.get("today"),
        secure_cookies=bool(raw.get("secure_cookies", False)),
        second_factor=bool(raw.get("second_factor", not (raw.get("demo") or raw.get("test")))),
        idle=timedelta(minutes=_minutes(path, raw.get("idle_minutes", 30))),
        address=_address(path, raw.get("address", "")),
        mail=_mail(path, raw["mail"]) if "mail" in raw else None,
        oidc=_oidc(path, raw["oidc"]) if "oidc" in raw else None,
        anchors=_anchors(path, raw.get("anchors", {})),
    )


def _minutes(path: Path, raw: Any) -> int:
    if type(raw) is not int or not 1 <= raw <= 60:
        raise NoInstance(f"{path}: idle_minutes is a whole number from 1 to 60")
    return raw


def _address(path: Path, raw: Any) -> str:
    """Scheme and host without a path, as browsers name an origin."""
    parts = urlsplit(raw) if isinstance(raw, str) else None
    if raw and (parts is None or parts.scheme not in ("https", "http") or not parts.netloc or f"{parts.scheme}://{parts.netloc}" != raw):
        raise NoInstance(f"{path}: address is a scheme and a host such as https://trial.example, without a slash at its end")
    return str(raw)


def _anchors(path: Path, raw: Any) -> Anchors:
    types = {"folder": str, "mail": bool, "stamp_address": str, "stamp_certificates": str}
    wrong = not isinstance(raw, dict) or any(type(value) is not types.get(name) for name, value in raw.items())
    if wrong or ("stamp_address" in raw) != ("stamp_certificates" in raw):
        words = "folder (a path), mail (true or false), and stamp_address with stamp_certificates (a file)"
        raise NoInstance(f"{path}: [anchors] may have {words}")
    folder, certificates = ((path.parent / raw[name]) if name in raw else None for name in ("folder", "stamp_certificates"))
    return Anchors(folder, raw.get("mail", False), raw.get("stamp_address", ""), certificates)


def _mail(path: Path, raw: Any) -> Mail:
    types = {"host": str, "port": int, "from": str, "starttls": bool}
    given = raw if isinstance(raw, dict) else {}
    absent = [name for name in ("host", "port", "from") if name not in given]
    wrong = [name for name, value in given.items() if type(value) is not types.get(name)]
    if absent or wrong:
        named = f"'{absent[0]}' is missing" if absent else f"'{wrong[0]}' does not fit"
        raise NoInstance(f"{path}: [mail] needs host, port and from, and may have starttls (true or false): {named}")
    return Mail(given["host"], given["port"], given["from"], given.get("starttls", True))


def _oidc(path: Path, raw: Any) -> Oidc:
    """The table, with the secret from a file beside the settings that only the service's user reads."""
    given = raw if isinstance(raw, dict) else {}
    texts = ("issuer", "client_id", "client_secret_file", "name")
    wrong = [name for name in texts if not isinstance(given.get(name), str)] + sorted(set(given) - {*texts, "acr"})
    if wrong:
        raise NoInstance(f"{path}: [oidc] needs {', '.join(texts)}, and may have acr (a list): '{wrong[0]}' does not fit")
    file = path.parent / given["client_secret_file"]
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise NoInstance(f"{file} cannot be read: {problem}") from None
    return Oidc(given["issuer"], given["client_id"], secret, given["name"], tuple(map(str, given.get("acr", ()))))


#: Settings of the vault -> type, and what a number or a word has to be.
_OF_VAULT: dict[str, tuple[type, Callable[[Any], bool]]] = {
    "mode": (str, lambda word: word in ("inside", "process")),
    "folder": (str, bool),
    "database_url": (str, bool),
    "socket": (str, bool),
    "token": (str, bool),
    "socket_mode": (str, lambda word: word in ("0600", "0660")),
    "allowed_uids": (list, lambda uids: all(type(uid) is int and uid >= 0 for uid in uids)),
    "views_per_hour": (int, lambda number: 1 <= number <= 100),
    "orphan_minutes": (int, lambda number: 1 <= number <= 1440),
}


def _vault(path: Path, raw: Any) -> Vault:
    given = raw if isinstance(raw, dict) else {"": raw}
    for name, value in given.items():
        type_of, fits = _OF_VAULT.get(name, (object, lambda _: False))
        if type(value) is not type_of or not fits(value):
            raise NoInstance(f"{path}: [vault] has no setting '{name}' that may say this; see /help/identities on the pages.")
    folder = (path.parent / given.get("folder", "vault")).resolve()
    return Vault(
        folder=folder,
        database_url=given.get("database_url") or f"sqlite:///{folder / 'vault.db'}",
        socket=(folder / given.get("socket", "vault.sock")).resolve(),
        token=(folder / given.get("token", "token")).resolve(),
        allowed_uids=tuple(given.get("allowed_uids", ())) or (os.getuid(),),
        **{name: given[name] for name in ("mode", "socket_mode", "views_per_hour", "orphan_minutes") if name in given},
    )


def create(
    folder: Path, *, database_url: str = "", demo: bool = False, test: bool = False, today: date | None = None, second_factor: bool = True
) -> Settings:
    """Write the settings of a new instance and give them back. Its folder is for its owner only: it will hold keys and data.

    Raises NoInstance where one exists already.
    """
    if exists(folder):
        raise NoInstance(f"There is an instance in {folder} already.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    lines = ["# Settings of this trialdm instance; see /help/commands on its pages."]
    if database_url:
        lines.append(f'database_url = "{database_url}"')
    if demo:
        lines.append("demo = true")
    if test:
        lines.append("test = true")
    if not (second_factor or demo or test):
        lines.append("second_factor = false")
    if today:
        lines.append(f"today = {today.isoformat()}")
    (folder / FILE).write_text("\n".join(lines) + "\n", "utf-8")
    return load(folder)
