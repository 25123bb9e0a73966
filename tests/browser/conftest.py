"""One small demonstration, served on loopback, and a Chromium that visits it. Skipped where no Chromium is installed."""

import importlib.util
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from waitress import create_server

from tests.demonstration import made, sign_ins
from trialdm.app import create_app
from trialdm.services import sessions
from trialdm.services.unit import SYSTEM, Units

TRIAL = "pre-tmr"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: What passed is counted, but not described and sent: that is most of the work.
_VIOLATIONS = "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']}).then(found => found.violations)"
_ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@dataclass(frozen=True)
class Site:
    """A served application: its address, and who can sign in."""

    app: Flask
    address: str
    passwords: dict[str, str]

    @property
    def trial(self) -> str:
        return f"{self.address}/trials/{TRIAL}"

    def session(self, email: str) -> str:
        """The secret of a new session, as the page of signing in gives it."""
        units: Units = self.app.extensions["trialdm"].units
        secret = units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, self.passwords[email]))
        assert secret
        return secret


@dataclass
class Visitor:
    """A person with a browser. Everything that the browser asked for, and every complaint of it, is kept."""

    site: Site
    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def sign_in(self, email: str) -> None:
        """Come with the cookie of a session: the page of signing in has tests of its own, and is slow in a browser."""
        session = {"name": "trialdm", "value": self.site.session(email), "url": self.site.address}
        self.page.context.add_cookies([{**session, "httpOnly": True, "sameSite": "Lax"}])

    def go(self, path: str) -> None:
        """Open a page of the trial."""
        self.page.goto(f"{self.site.trial}{path}")

    def participant(self, state: str) -> str:
        """The first participant in a state that the person sees."""
        self.go(f"/participants?state={state}")
        return self.page.locator("tbody a").first.inner_text()


def press(page: Page, selector: str) -> None:
    """Press a button that leads to another page, and wait until that page is there."""
    with page.expect_navigation():
        page.click(selector)


def _chromium() -> str | None:
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return os.environ.get("TRIALDM_CHROMIUM") or next(filter(None, found), None)


@pytest.fixture(scope="session")
def site(demonstration: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A demonstration with twelve participants, served until the tests are over."""
    folder = tmp_path_factory.mktemp("browser") / "demo"
    shutil.copytree(demonstration, folder)
    opened = made(folder)
    app = create_app(opened)
    worker = app.extensions["trialdm-jobs"]
    with served(app, {entry["email"]: entry["password"] for entry in sign_ins(opened)}) as found:
        worker.start()
        yield found
        worker.stop()
    opened.engine.dispose()


@contextmanager
def served(app: Flask, passwords: dict[str, str]) -> Iterator[Site]:
    """An application on loopback."""
    server = create_server(app, host="127.0.0.1", port=0, threads=4, ident=None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield Site(app, f"http://127.0.0.1:{server.effective_port}", passwords)
    server.close()
    thread.join(timeout=10)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of this machine; it is never downloaded."""
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium is installed; set TRIALDM_CHROMIUM to its path")
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors: `visit(email, width=.., javascript=..)`. At the end no request has left loopback."""
    yield from visitors_of(site, browser)


def visitors_of(site: Site, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """What makes visitors of a site; afterwards what they asked for and complained of is looked at."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def make(email: str = "", *, width: int = 1280, javascript: bool = True) -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=javascript)
        context.set_default_timeout(10_000)
        contexts.append(context)
        visitor = Visitor(site, context.new_page())
        visitors.append(visitor)
        context.on("request", lambda request: visitor.asked.append(request.url))
        visitor.page.on("console", lambda said: _complain(visitor, said.type, said.text))
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        if email:
            visitor.sign_in(email)
        return visitor

    yield make
    for context in contexts:
        context.close()
    for visitor in visitors:
        assert {urlsplit(url).hostname for url in visitor.asked if not url.startswith("data:")} <= {"127.0.0.1"}
        assert visitor.complaints == []


def _complain(visitor: Visitor, kind: str, text: str) -> None:
    """Keep what the browser complains about; that an answer has an error status is what some tests ask for."""
    if kind in ("error", "warning") and "the server responded with a status of" not in text:
        visitor.complaints.append(text)


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core: from TRIALDM_AXE, or from the package axe-playwright-python."""
    given = os.environ.get("TRIALDM_AXE")
    if given:
        return Path(given).read_text("utf-8")
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-core is not installed: install axe-playwright-python, or set TRIALDM_AXE to the path of axe.min.js")
    return (Path(found.origin).parent / "axe.min.js").read_text("utf-8")


@pytest.fixture
def check(axe: str) -> Callable[[Page], None]:
    """Asserts that axe finds nothing on a page, by the rules of WCAG 2.2 A and AA and by good practice."""

    def run(page: Page) -> None:
        page.evaluate(axe)
        found = page.evaluate(_VIOLATIONS, _RULES)
        problems = [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:160]}" for v in found]
        assert problems == [], f"{page.url}: {problems}"

    return run
