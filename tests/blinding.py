"""The proof of blinding in full: `python -m tests.blinding` asks for every address with every value of its parameters, as everybody.

The suite takes the addresses of large routes in turn (`tests/api/test_concealment.py`). This takes about an hour, and gives 1 if
anything differs.
"""

import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from tests import walk
from tests.api.test_concealment import differences
from tests.conftest import furnished
from tests.twins import PEOPLE, twins_of
from trialdm.documents import page as documents


def main(roles: list[str]) -> int:
    """Compare what everybody who is blinded is given (or people of these roles only)."""
    with tempfile.TemporaryDirectory() as folder, patch.object(documents, "pdf", str.encode):
        twins = twins_of(furnished(Path(folder) / "template"), Path(folder))
        asked, differing = list(walk.addresses(twins)), 0
        for person in PEOPLE:
            if not roles or person[0] in roles:
                found = differences(twins, person, asked)
                differing += len(found)
                sys.stdout.write(f"{' '.join(person).strip()}: {len(asked)} addresses, {len(found)} differ\n")
                sys.stdout.writelines(f"  {line}\n" for line in found)
                sys.stdout.flush()
        return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
