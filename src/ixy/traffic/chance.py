"""Random numbers for compiled code, the same ones for the same seed."""

import hashlib

import numpy as np

from ixy.compiled import inner

LEFT, RIGHT, LAST = np.uint64(13), np.uint64(7), np.uint64(17)
HALF, WORD = np.uint64(32), np.uint64(2**32)


@inner
def draw(state):
    """64 random bits, from a record with a field `random` (u8, never 0): the xorshift generator of
    Marsaglia (Journal of Statistical Software 8(14), 2003).
    """
    word = state.random
    word ^= word << LEFT
    word ^= word >> RIGHT
    word ^= word << LAST
    state.random = word
    return word


@inner
def draw_below(state, limit):
    """A random number (u8) below a limit; any of 64 bits for the limit 0."""
    word = draw(state)
    if limit == 0:
        return word
    if limit <= WORD:
        return (word >> HALF) * limit >> HALF
    return word % limit


def seeded(*words: object) -> int:
    """A first state for `draw`, different for different words."""
    digest = hashlib.blake2b(repr(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1
