"""Numbers of things in words, for messages."""


def counted(number: int, thing: str) -> str:
    """So many of a thing: `1 form`, `3 queries`."""
    plural = f"{thing[:-1]}ies" if thing.endswith("y") and thing[-2] not in "aeiou" else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"
