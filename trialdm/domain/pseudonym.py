"""Pseudonyms of participants: eight random characters and two check characters, written `K7QF-2M9X-CC`.

The alphabet has 32 characters without B, I, O and S, which are misread. The two check characters are a code over GF(32) of
the form of Faldum and Pommerening (2005): every wrong character, every two wrong characters and every swap of neighbours is
found. A pseudonym is an identifier, never a secret, and is derived from nothing: its eight characters come from the caller's
random source.
"""

ALPHABET = "0123456789ACDEFGHJKLMNPQRTUVWXYZ"

_VALUE = {char: number for number, char in enumerate(ALPHABET)}
_REDUCTION = 0b100101  # x^5 + x^2 + 1, primitive over GF(2)
_DATA = 8


def _times(a: int, b: int) -> int:
    """Product in GF(32)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 32:
            a ^= _REDUCTION
        b >>= 1
    return product


def _power(exponent: int) -> int:
    value = 1
    for _ in range(exponent):
        value = _times(value, 2)
    return value


_FIRST = [_power(i + 1) for i in range(_DATA)]
_SECOND = [_power(2 * (i + 1)) for i in range(_DATA)]


def _checks(data: list[int]) -> tuple[int, int]:
    first = second = 0
    for i, value in enumerate(data):
        first ^= _times(_FIRST[i], value)
        second ^= _times(_SECOND[i], value)
    return first, second


def issue(randomness: bytes) -> str:
    """The pseudonym made of five random bytes (40 bits). Raises ValueError for another length."""
    if len(randomness) != 5:
        raise ValueError("a pseudonym takes exactly five random bytes")
    number = int.from_bytes(randomness, "big")
    data = [(number >> (5 * i)) & 31 for i in reversed(range(_DATA))]
    text = "".join(ALPHABET[value] for value in (*data, *_checks(data)))
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"


def normalise(typed: str) -> str:
    """The pseudonym in its written form, from any case and with or without hyphens or spaces.

    Raises ValueError where it cannot be one: a wrong length, a character outside the alphabet, or check characters that do
    not agree. It never guesses which pseudonym was meant.
    """
    text = "".join(char for char in typed.upper() if char not in "- ")
    if len(text) != _DATA + 2 or any(char not in _VALUE for char in text):
        raise ValueError("a participant is written as XXXX-XXXX-XX, with digits and letters but not B, I, O or S")
    numbers = [_VALUE[char] for char in text]
    if _checks(numbers[:_DATA]) != (numbers[-2], numbers[-1]):
        raise ValueError("the last two characters do not agree with the rest: check for a typing error")
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"
