"""What came of screening somebody, from the answers of the screening form. Source: CONSORT 2025, participant flow."""

#: Outcome -> words, in the order of the flow.
OUTCOMES = {
    "not-eligible": "Not eligible",
    "not-approached": "Eligible, not approached",
    "declined": "Approached, did not consent",
    "consented": "Consented",
    "open": "Not finished",
}

#: Outcomes by which somebody does not enter the trial.
EXCLUDED = ("not-eligible", "not-approached", "declined")


def outcome(eligible: int | None, approached: int | None, consented: int | None) -> str:
    """A key of `OUTCOMES` from the yes/no answers: the first No decides; without one, what is not answered yet is open."""
    for answer, stops in ((eligible, "not-eligible"), (approached, "not-approached"), (consented, "declined")):
        if answer != 1:
            return stops if answer == 0 else "open"
    return "consented"
