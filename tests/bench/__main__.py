"""Benchmarks: `python -m tests.bench NAME`. Each prints ratios against a reference measured in the same run."""

import sys

from tests.bench import audit, batch_checks, blinding, export, flat, form_page, gate, ledgers, randomise, rehearse, save_form

BENCHMARKS = {
    "randomise": randomise.run,
    "gate": gate.run,
    "save-form": save_form.run,
    "export": export.run,
    "form-page": form_page.run,
    "rehearse": rehearse.run,
    "engine": ledgers.run_engine,
    "verify-ledger": ledgers.run_verify,
    "flat": flat.run,
    "batch-checks": batch_checks.run,
    "audit": audit.run,
    "verify-audit": audit.run_verify,
    "tamper": audit.run_tamper,
    "blinding-timing": blinding.run,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown or not names:
        sys.stderr.write(f"Choose from: {', '.join(BENCHMARKS)}\n")
        return 2
    for name in names:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
