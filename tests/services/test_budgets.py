"""What is counted, so that one stolen password does not carry everything away."""

from datetime import timedelta

import pytest

from tests.builders import World
from trialdm.domain.errors import TooMany
from trialdm.services import budgets
from trialdm.services.unit import Actor, Unit


def act(world: World, role: str, door: str, what: str = "export") -> None:
    actor = world.actor(role)
    person = Actor(actor.id, actor.name, actor.email, actor.staff_no, actor.grants, door)

    def spend(unit: Unit) -> None:
        budgets.spend(unit, what)

    world.units.run(person, spend)


@pytest.mark.parametrize("what", budgets.BUDGETS)
def test_a_budget_is_of_one_person_and_comes_back_with_time(world: World, what: str) -> None:
    most, within, _ = budgets.BUDGETS[what]
    for number in range(most):
        act(world, "data-manager", "web" if number % 2 else "api", what)
        world.now += timedelta(seconds=1)
    with pytest.raises(TooMany) as refused:
        act(world, "data-manager", "web", what)
    assert refused.value.code == f"BUDGET.{what.upper()}"
    assert 0 < refused.value.shows["retry_after"] <= within.total_seconds()
    act(world, "trial-manager", "web", what)
    act(world, "data-manager", "cli", what)
    world.now += timedelta(seconds=refused.value.shows["retry_after"])
    act(world, "data-manager", "web", what)
