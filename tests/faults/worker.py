"""A process of its own that randomises a list of participants and says what was acknowledged: `python -m tests.faults.worker`."""

import json
import sys
import time
from pathlib import Path

from sqlalchemy import select

from tests import builders
from trialdm import instance as instances
from trialdm.domain.errors import TrialError
from trialdm.services import allocations
from trialdm.store.tables import Participant


def main(folder: str, prefix: str, shift: str, pause: str = "0") -> None:
    """Randomise every participant, starting somewhere in the list, with a pause between; one JSON line for each answer."""
    instance = instances.open_folder(Path(folder))
    world = builders.around(instance)
    with world.units.reading(world.actor("trial-coordinator")) as unit:
        idents = list(unit.session.scalars(select(Participant.id).order_by(Participant.id)))
    start = int(shift) % len(idents)
    for ident in idents[start:] + idents[:start]:
        try:
            allocated, new = world.run(
                "trial-coordinator", lambda unit, ident=ident: allocations.randomise(unit, builders.TRIAL, ident, f"{prefix}-{ident}")
            )
            line = {**allocated.to_json(), "new": new}
        except TrialError as refused:
            line = {"participant": ident, "refused": refused.code}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        time.sleep(float(pause))


if __name__ == "__main__":
    main(*sys.argv[1:])
