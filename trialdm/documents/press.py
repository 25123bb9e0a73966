"""PDF files that take longer than a person waits for a page: made beside the request, kept for a while, asked for again.

A file is kept in memory under the hash of what stands in it, so that nobody is given what they could not have read themselves.
"""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic

from trialdm.documents import page
from trialdm.documents.page import Document

#: Seconds that a request waits; what takes longer is asked for again.
PATIENCE = 2.0

#: Seconds for which a file is kept after it was asked for first. Later, one with a new time of printing is made.
_KEPT = 600.0


@dataclass(frozen=True)
class _Order:
    file: Future[bytes]
    since: float


class Press:
    """Makes one file at a time."""

    def __init__(self) -> None:
        self._hands = ThreadPoolExecutor(1, thread_name_prefix="press")
        self._orders: dict[str, _Order] = {}
        self._lock = Lock()

    def pdf(self, document: Document, patience: float = PATIENCE) -> bytes | None:
        """A document as PDF, or None while it is still being made. Raises what making it raised; asked again, it is tried again."""
        key = hashlib.sha256(page.html(replace(document, lead="")).encode()).hexdigest()
        with self._lock:
            self._orders = {k: order for k, order in self._orders.items() if not _over(order)}
            if key not in self._orders:
                self._orders[key] = _Order(self._hands.submit(_make, document), monotonic())
            made = self._orders[key].file
        try:
            return made.result(timeout=patience)
        except TimeoutError:
            return None


def _over(order: _Order) -> bool:
    """Whether an order is forgotten: it failed, or its time has passed."""
    return order.file.done() and (order.file.exception() is not None or monotonic() > order.since + _KEPT)


def _make(document: Document) -> bytes:
    return page.pdf(page.html(document))
