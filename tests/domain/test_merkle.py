"""The hash tree: the vectors of Certificate Transparency, and what holds of every tree."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.domain import merkle
from trialdm.domain.merkle import Frontier

#: The leaves and roots that the reference implementation of RFC 6962 publishes with its tests.
LEAVES = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
HASHES = [merkle.leaf(content) for content in LEAVES]

#: (leaf, size of the tree, proof): leaves are counted from 0.
INCLUSIONS = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCIES = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]

SIZES = st.integers(1, 80)


def hashes(count: int) -> list[bytes]:
    return [merkle.leaf(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_published_roots(size: int) -> None:
    assert merkle.root(HASHES[:size]).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size", "path"), INCLUSIONS)
def test_the_published_proofs_of_inclusion(index: int, size: int, path: list[str]) -> None:
    assert [part.hex() for part in merkle.inclusion(HASHES[:size], index)] == path


@pytest.mark.parametrize(("first", "second", "path"), CONSISTENCIES)
def test_the_published_proofs_of_consistency(first: int, second: int, path: list[str]) -> None:
    assert [part.hex() for part in merkle.consistency(HASHES[:second], first)] == path


def test_a_tree_without_leaves() -> None:
    assert merkle.root([]) == merkle.EMPTY == sha256(b"").digest()


def recursive(found: list[bytes]) -> bytes:
    """The definition of the RFC, word by word."""
    if len(found) == 1:
        return found[0]
    k = max(2**n for n in range(10) if 2**n < len(found))
    return merkle.node(recursive(found[:k]), recursive(found[k:]))


@given(SIZES)
def test_the_growing_tree_has_the_root_of_the_definition(size: int) -> None:
    assert merkle.root(hashes(size)) == recursive(hashes(size))


@given(SIZES, st.integers(0, 80))
def test_a_tree_that_was_kept_grows_on(size: int, more: int) -> None:
    tree = Frontier()
    tree.extend(hashes(size))
    again = Frontier.from_text(size, tree.to_text())
    again.extend(hashes(size + more)[size:])
    assert again.root == merkle.root(hashes(size + more))


@pytest.mark.parametrize(("size", "text"), [(3, "00" * 32), (-1, ""), (1, ""), (2, "zz"), (4, "00" * 64)])
def test_peaks_of_another_tree_are_refused(size: int, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Frontier.from_text(size, text)


@given(st.data())
def test_every_leaf_is_proved_in_its_place_and_in_no_other(data: st.DataObject) -> None:
    size = data.draw(SIZES)
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    found, top = hashes(size), merkle.root(hashes(size))
    path = merkle.inclusion(found, index)
    assert merkle.included(found[index], index, size, path, top)
    assert not merkle.included(found[index], other, size, path, top) or other == index
    assert not merkle.included(merkle.leaf(b"forged"), index, size, path, top)
    assert not merkle.included(found[index], index, size, [*path, top], top)
    if path:
        assert not merkle.included(found[index], index, size, path[1:], top)


@given(st.data())
def test_a_tree_begins_with_what_it_grew_from_and_with_nothing_else(data: st.DataObject) -> None:
    second = data.draw(SIZES)
    first = data.draw(st.integers(0, second))
    found = hashes(second)
    old, new = merkle.root(found[:first]), merkle.root(found)
    path = merkle.consistency(found, first)
    assert merkle.consistent(first, second, old, new, path)
    if 0 < first < second:
        changed = [merkle.leaf(b"forged"), *found[1:]]
        assert not merkle.consistent(first, second, merkle.root(changed[:first]), new, path)
        assert not merkle.consistent(first, second, old, merkle.root(changed), path)
        assert not merkle.consistent(first, second, old, new, path[:-1])
        assert not merkle.consistent(first, second, old, new, [*path, old])
    assert not merkle.consistent(second + 1, second, old, new, path)


def test_what_is_not_in_a_tree_has_no_proof() -> None:
    with pytest.raises(IndexError):
        merkle.inclusion(HASHES, 8)
    with pytest.raises(IndexError):
        merkle.consistency(HASHES, 9)
