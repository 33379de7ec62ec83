"""Byte mutants of sound models: `mutant(number)` is always the same file."""

import random

from tests.hostile.bases import bases


def mutant(number):
    """(name, content) of one mutant."""
    draw = random.Random(number)
    base = draw.choice(sorted(bases()))
    content = bytearray(bases()[base])
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        draw.choice(_EDITS)(content, draw)
    return f"mutant {number} of {base}", bytes(content)


def _flip(content, draw):
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def _set(content, draw):
    content[draw.randrange(len(content))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))


def _delete(content, draw):
    start = draw.randrange(len(content) - 1)
    del content[start : start + draw.choice((1, 2, 8, 64))]


def _insert(content, draw):
    start = draw.randrange(len(content))
    content[start:start] = draw.randbytes(draw.choice((1, 2, 8)))


def _repeat(content, draw):
    start, size = draw.randrange(len(content)), draw.choice((2, 8, 64))
    content[start:start] = content[start : start + size]


def _exchange(content, draw):
    a, b = draw.randrange(len(content)), draw.randrange(len(content))
    content[a], content[b] = content[b], content[a]


_EDITS = (_flip, _flip, _set, _set, _set, _delete, _insert, _repeat, _exchange)
