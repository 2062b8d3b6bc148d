"""Which recordings train and which validate."""

import hashlib
from collections.abc import Iterable


def valid_units(units: Iterable[str], share: float, key: str) -> set[str]:
    """The talkers, groups or recordings among `units` that are for validation: a share as near to `share` as whole
    units allow.

    A hash of the names and `key` decides, so one unit more or less moves few of the others. If the share is neither 0
    nor 1 and there are two units or more, each side has one at least. One unit alone goes to training.
    """
    ordered = sorted(set(units), key=lambda unit: (name_hash(key, unit), unit))
    number = round(share * len(ordered))
    if 0 < share < 1 and ordered:
        number = min(max(number, 1), len(ordered) - 1)
    return set(ordered[:number])


def name_hash(*names: str) -> float:
    """A number in [0, 1) that depends on the names alone."""
    digest = hashlib.blake2b("/".join(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
