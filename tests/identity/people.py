"""People for the tests of the vault, and vaults to put them into."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from tests.builders import World
from trialdm.demo.invented import invented
from trialdm.domain import identity
from trialdm.domain.identity import Identity, Vault
from trialdm.identity.client import Asked
from trialdm.identity.server import Server
from trialdm.identity.vault import Kept, Place

TRIAL = "pre-tmr"


def who(number: int, **changed: str) -> Identity:
    """The invented person with this number."""
    return identity.read({**invented(number), **changed}, world="test", today=date.today())


def kept(folder: Path, url: str = "", views: int = 5) -> Kept:
    """A vault of this process."""
    return Kept(Place(folder, url or f"sqlite:///{folder / 'vault.db'}", "test", views), lambda: datetime.now(UTC))


@contextmanager
def served(vault: Kept, folder: Path, allowed: tuple[int, ...]) -> Iterator[Asked]:
    """The same vault behind a socket."""
    folder.mkdir(exist_ok=True)
    token = secrets.token_urlsafe(32)
    (folder / "token").write_text(token + "\n")
    with Server(vault, folder / "s", token, allowed) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield Asked(folder / "s", folder / "token", patience=2)
        finally:
            server.shutdown()
            thread.join()


def identifiers(given: dict[str, str]) -> list[bytes]:
    """What must stand nowhere but in the vault, as bytes: numbers with and without spaces, names, dates, telephone numbers."""
    number = given.get("nhs_number", "")
    written = [given["family_name"], given["given_name"], given["born"], given["phone"], given["phone"].replace(" ", "")]
    return [text.encode() for text in (*written, *([number, f"{number[:3]} {number[3:6]} {number[6:]}"] if number else []))]


def with_vault(world: World, vault: Vault | None = None) -> World:
    """The world as one where nothing is real, with a vault of its own."""
    folder = world.instance.settings.folder / "apart"
    world.units = replace(world.units, world="test", vault=vault or kept(folder))
    return world
