"""The hash tree of RFC 6962 (section 2.1): root, proofs that a leaf is in it, and that a larger tree holds a smaller one.

A leaf is hashed with 0x00 before it and a node with 0x01, so that neither passes for the other. `Frontier` is the tree that
only grows: it keeps one hash for each complete subtree, so that appending needs no leaf that came before. Pure functions over
bytes; all hashes are SHA-256, 32 bytes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: The root of a tree without leaves.
EMPTY = hashlib.sha256(b"").digest()


def leaf(content: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + content).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of a node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass
class Frontier:
    """A tree as far as it has grown: its size, and the roots of its complete subtrees from the largest on."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def append(self, hashed: bytes) -> None:
        """Add the hash of the next leaf."""
        peaks, size = self.peaks, self.size
        while size & 1:
            hashed = node(peaks.pop(), hashed)
            size >>= 1
        peaks.append(hashed)
        self.size += 1

    def extend(self, hashes: Iterable[bytes]) -> None:
        for hashed in hashes:
            self.append(hashed)

    @property
    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY
        above = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            above = node(peak, above)
        return above

    def to_text(self) -> str:
        """The peaks in hex, to be kept beside the size."""
        return b"".join(self.peaks).hex()

    @classmethod
    def from_text(cls, size: int, text: str) -> "Frontier":
        """The tree again. Raises ValueError where the peaks are not those of a tree of this size."""
        joined = bytes.fromhex(text)
        if size < 0 or len(joined) != 32 * size.bit_count():
            raise ValueError("these are not the peaks of a tree of this size")
        return cls(size, [joined[start : start + 32] for start in range(0, len(joined), 32)])


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over the hashes of all leaves."""
    tree = Frontier()
    tree.extend(hashes)
    return tree.root


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def inclusion(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The proof that leaf `index` is in the tree: the hashes beside its way to the root, from the leaf on.

    Raises IndexError where there is no such leaf.
    """
    if not 0 <= index < len(hashes):
        raise IndexError(f"there is no leaf {index} in a tree of {len(hashes)}")
    path, low, high = [], 0, len(hashes)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(root(hashes[middle:high]))
            high = middle
        else:
            path.append(root(hashes[low:middle]))
            low = middle
    return path[::-1]


def consistency(hashes: Sequence[bytes], size: int) -> list[bytes]:
    """The proof that the first `size` leaves are those of the smaller tree. Raises IndexError where there are not so many."""
    if not 0 <= size <= len(hashes):
        raise IndexError(f"a tree of {len(hashes)} has no part of {size}")
    if size in (0, len(hashes)):
        return []
    path, low, high, whole = [], 0, len(hashes), True
    while low + (part := size - low) != high:
        middle = low + _split(high - low)
        if part <= middle - low:
            path.append(root(hashes[middle:high]))
            high = middle
        else:
            path.append(root(hashes[low:middle]))
            low, whole = middle, False
    if not whole:
        path.append(root(hashes[low:high]))
    return path[::-1]


def included(hashed: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Whether the proof leads from the hash of leaf `index` to the root of a tree of this size (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, above = index, size - 1, hashed
    for beside in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            above = node(beside, above)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            above = node(above, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and above == expected


def consistent(first: int, second: int, old: bytes, new: bytes, path: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of size `second` begins with that of size `first` (RFC 9162, 2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first == 0:
        return not path and old == EMPTY
    if first == second:
        return not path and old == new
    hashes = list(path) if first & (first - 1) else [old, *path]
    if not hashes:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    one = other = hashes[0]
    for beside in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            one, other = node(beside, one), node(beside, other)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            other = node(other, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and one == old and other == new
