"""Server time of the page of a form with 60 items, beside the smallest page that the application renders."""

import tempfile
from pathlib import Path
from statistics import median

from tests import builders
from tests.bench.worlds import line, seconds
from tests.builders import TRIAL
from trialdm import instance as instances
from trialdm.app import create_app
from trialdm.instance import Instance
from trialdm.services import people
from trialdm.services.unit import SYSTEM

REPEATS = 40


def run() -> None:
    """Print the median time of both pages and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        instance = instances.create(Path(folder) / "instance")
        builders.furnish(instance)
        world = builders.around(instance)
        ident = builders.randomised(world, limb=2, amp_level_plan=24, aetiol_main=5)
        client = create_app(Instance(instance.settings, instance.engine, world.units)).test_client()
        email = world.actor("research-nurse").email
        secret = world.units.run(SYSTEM, lambda unit: people.sign_in(unit, email, builders.PASSWORD))
        client.set_cookie("trialdm", secret or "")
        page = f"/trials/{TRIAL}/participants/{ident}/visits/V04/forms/FUNU"
        items = len(world.protocol.form("FUNU").items)
        if client.get(page).status_code != 200:
            raise RuntimeError("the page of the form is not served")
        form = median(seconds(lambda: client.get(page)) for _ in range(REPEATS))
        least = median(seconds(lambda: client.get("/sign-in")) for _ in range(REPEATS))
        beside = f"{form / least:5.2f} x the sign-in page ({least * 1000:4.1f} ms)"
        line(f"form-page: {items} items in {form * 1000:5.1f} ms of server time, {beside}")
