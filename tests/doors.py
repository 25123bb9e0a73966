"""The application that tests knock at: put together once, then led to whichever world a test has."""

import copy
from functools import cache

from flask import Flask

from tests.builders import World
from trialdm.app import lead_to, put_together
from trialdm.instance import Instance


def app_of(world: World) -> Flask:
    """An application of the world's own; routes and templates, which are the same for all, are shared."""
    instance = Instance(world.instance.settings, world.instance.engine, world.units)
    return lead_to(copy.copy(_rooms()), instance)


@cache
def _rooms() -> Flask:
    return put_together()
