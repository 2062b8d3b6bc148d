"""Visitors and their use of the server: bytes on the disk, open requests, and runs that somebody waits for."""

import ipaddress
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from serving import Limits, RequestError

SMALLEST_CHARGE = 2**16  # bytes; even a small file also takes a folder and an entry in every list


def visitor_of(client) -> str:
    """Return the name of a visitor: the address of `client` (the `client` of a request). For IPv6 the name is the /64
    network, because one household has such a network."""
    try:
        address = ipaddress.ip_address(client.host.partition("%")[0])
    except (AttributeError, ValueError):
        return "unknown"
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@dataclass
class Charge:
    """Bytes that a visitor has on the disk or has reserved."""

    visitor: str
    size: int
    since: float = 0.0


class Disk:
    """Counts the bytes of the visitors' files. A file counts from when it is written until its age deletes it.

    Args:
        limits: Limits, of which `max_total_mb` applies to all visitors together and `max_visitor_mb` to each;
            `delete_after_seconds` is the age.
    """

    def __init__(self, limits: Limits):
        self.total, self.share = limits.max_total_mb, limits.max_visitor_mb
        age = limits.delete_after_seconds
        self.seconds = age + min(age, 60)  # plus the time between two looks for old files
        self.charges: deque[Charge] = deque()  # charges of written files; the oldest first
        self.taken: Counter[str] = Counter()
        self.lock = threading.Lock()

    @contextmanager
    def reserve(self, visitor: str, size: int) -> Iterator[Charge]:
        """Reserve `size` bytes. Within the context, `charge.size` may be set to the bytes that were really written.

        Raises:
            RequestError: if fewer bytes than that are left, for the visitor or in total.
        """
        charge = Charge(visitor, max(size, SMALLEST_CHARGE))
        with self.lock:
            self._forget()
            if self.taken[visitor] + charge.size > self.share * 10**6:
                raise RequestError(
                    f"Your files take {self.share} MB on this server, which is the limit; wait until the oldest "
                    "are deleted."
                )
            if self.taken.total() + charge.size > self.total * 10**6:
                raise RequestError(
                    f"All visitors' files take {self.total} MB on this server, which is the limit; try again later."
                )
            self.taken[visitor] += charge.size
        reserved = charge.size
        try:
            yield charge
        finally:
            with self.lock:
                charge.size, charge.since = max(charge.size, SMALLEST_CHARGE), time.monotonic()
                self.taken[visitor] += charge.size - reserved
                self.charges.append(charge)

    def _forget(self) -> None:
        while self.charges and time.monotonic() - self.charges[0].since > self.seconds:
            charge = self.charges.popleft()
            self.taken[charge.visitor] -= charge.size
            if self.taken[charge.visitor] <= 0:
                del self.taken[charge.visitor]


class Listeners:
    """Records who waits for answers: sessions, and calls of programs, that have an open request for their results.

    Args:
        patience: Seconds without such a request after which a session counts as gone.
    """

    def __init__(self, patience: float):
        self.patience = patience
        self.open: Counter[str] = Counter()
        self.left: dict[str, float] = {}  # time at which each session's last request ended; the oldest first

    @contextmanager
    def listening(self, session: str) -> Iterator[None]:
        self.open[session] += 1
        try:
            yield
        finally:
            self.open[session] -= 1
            if not self.open[session]:
                del self.open[session]
                self.left.pop(session, None)
                self.left[session] = time.monotonic()
                while self.left and time.monotonic() - next(iter(self.left.values())) > self.patience:
                    del self.left[next(iter(self.left))]

    def gone(self, session: str, since: float) -> bool:
        """Return whether nobody has waited for `session` for longer than the patience, counted from `since` at the
        earliest."""
        quiet = time.monotonic() - max(since, self.left.get(session, 0.0))
        return session not in self.open and quiet > self.patience
