"""Recruitment against a target: what is expected by now, and how it is rated. Whole numbers, exact."""

#: Rating -> words, and the least percentage of what was expected. Thresholds of the report on recruitment, RP-01.
RATINGS = {"green": ("Green: 90% or more of what was expected", 90), "amber": ("Amber: 70 to 89%", 70), "red": ("Red: below 70%", 0)}


def expected(target: int, months: int, elapsed: int) -> int:
    """What a steady pace gives after some months of those planned, never more than the target; halves are rounded up."""
    return min(target, (2 * target * elapsed + months) // (2 * months))


def rating(actual: int, by_now: int) -> str:
    """A key of `RATINGS`; empty where nothing was expected yet."""
    if by_now <= 0:
        return ""
    return next(name for name, (_, least) in RATINGS.items() if 100 * actual >= least * by_now)
