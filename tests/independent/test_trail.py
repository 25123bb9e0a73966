"""Two programs, one description: the second verifier of the trail agrees about what is whole, and about every fault."""

import ast
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import builders
from tests.builders import TRIAL, World
from tests.independent import trail as second
from trialdm.services import sealing, trail

Lines = list[dict[str, Any]]


def exported(world: World) -> Lines:
    sealing.seal_all(world.units)
    builders.randomised(world)
    sealing.seal_all(world.units)
    builders.screened(world)
    sealing.seal_all(world.units)
    return [json.loads(line) for line in world.read("unblinded-data-manager", lambda unit: list(trail.proofs(unit, TRIAL)))]


@pytest.fixture(scope="module")
def lines(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    world = sqlite_template.copy(tmp_path_factory.mktemp("exported") / "instance")
    found = exported(world)
    world.instance.engine.dispose()
    return found


def faults(lines: Lines, key: str = "") -> list[str]:
    return list(second.faults([json.dumps(line) for line in lines], key))


def test_it_shares_no_code_with_the_package() -> None:
    tree = ast.parse(Path(second.__file__).read_text("utf-8"))
    found = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    found |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found <= {"cryptography", *sys.stdlib_module_names}


def test_it_agrees_on_what_is_whole(world: World) -> None:
    found = exported(world)
    assert faults(found, found[0]["public_key"]) == []
    assert {line["entry"]["stream"] for line in found if "entry" in line} == {"open", "unblinded"}
    assert sum("checkpoint" in line for line in found) >= 4


def test_an_arm_for_which_nobody_asked_is_not_in_the_file(lines: Lines) -> None:
    arms = [line for line in lines if "entry" in line and line["entry"]["field"] == "arm"]
    assert arms
    assert all(line["entry"]["new_commit"] and not line["values"] for line in arms)


def _some(lines: Lines, key: str, chance: random.Random) -> dict[str, Any]:
    return chance.choice([line for line in lines if key in line and (key != "entry" or line["values"])])


def _field(lines: Lines, chance: random.Random) -> None:
    entry = _some(lines, "entry", chance)["entry"]
    entry[chance.choice(second.FIELDS)] += "x"


def _value(lines: Lines, chance: random.Random) -> None:
    chance.choice(list(_some(lines, "entry", chance)["values"].values()))["value"] += " "


def _gone(lines: Lines, chance: random.Random) -> None:
    lines.remove(_some(lines, "entry", chance))


def _swapped(lines: Lines, chance: random.Random) -> None:
    one = _some(lines, "entry", chance)
    other = chance.choice(
        [line for line in lines if "entry" in line and line["entry"]["stream"] == one["entry"]["stream"] and line is not one]
    )
    one["leaf_index"], other["leaf_index"] = other["leaf_index"], one["leaf_index"]


def _signature(lines: Lines, chance: random.Random) -> None:
    line = _some(lines, "checkpoint", chance)
    line["checkpoint"] = line["checkpoint"].replace("time 20", "time 19")


def _without(lines: Lines, chance: random.Random) -> None:
    lines.remove(_some(lines, "checkpoint", chance))


@pytest.mark.parametrize("fault", [_field, _value, _gone, _swapped, _signature, _without])
@pytest.mark.parametrize("seed", range(5))
def test_it_finds_every_fault(lines: Lines, fault: Callable[[Lines, random.Random], None], seed: int) -> None:
    copied = json.loads(json.dumps(lines))
    fault(copied, random.Random(seed))
    assert faults(copied)


def test_another_key_and_another_file_are_refused(lines: Lines, tmp_path: Path) -> None:
    assert faults(lines, "00" * 32)
    assert faults([{"format": "another"}])
    file = tmp_path / "trail.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert second.main([str(file), "--key", lines[0]["public_key"]]) == 0
    file.write_text("".join(json.dumps(line) + "\n" for line in [lines[0], *lines[2:]]), "utf-8")
    assert second.main([str(file)]) == 1
    assert second.main([]) == 2
