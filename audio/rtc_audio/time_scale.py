"""Shortens or lengthens sound by whole pitch periods, or by anything where it is silent."""

import numpy as np

from .expansion import LONGEST_PERIOD, SHORTEST_PERIOD, best_match, crossfade, pitch_period
from .tape import Mono

GOOD_MATCH = 0.9  # correlation from which on a period may be cut out or repeated unheard
FADE_SECONDS = 0.004
TEMPLATE_SECONDS = 0.008


def shorten(
    ready: Mono, at_most: int, rate_hz: int, *, quiet: bool, good_match: float = GOOD_MATCH
) -> Mono | None:
    """`ready` without its first pitch period (any length if `quiet`); None if nothing can go unheard."""
    fade = int(FADE_SECONDS * rate_hz)
    period = min(at_most, len(ready) - fade)
    if not quiet:
        template, shortest = int(TEMPLATE_SECONDS * rate_hz), int(SHORTEST_PERIOD * rate_hz)
        longest = min(int(LONGEST_PERIOD * rate_hz), at_most, len(ready) - template)
        if longest <= shortest:
            return None
        position, match = best_match(ready[:template], ready[shortest : longest + template])
        if match < good_match:
            return None
        period = shortest + position
    return crossfade(ready, ready[period:], fade) if period > 0 else None


def lengthen(context: Mono, ready: int, at_most: int, rate_hz: int, *, quiet: bool) -> Mono | None:
    """The last `ready` samples of `context` behind a pitch period of their own (`at_most`, if `quiet`).

    None if nothing can be repeated unheard. A pitch period may be longer than `at_most`.
    """
    here, fade = len(context) - ready, int(FADE_SECONDS * rate_hz)
    period = at_most
    if not quiet:
        template = int(TEMPLATE_SECONDS * rate_hz)
        period, match = pitch_period(context[: here + template], rate_hz, TEMPLATE_SECONDS)
        if match < GOOD_MATCH:
            return None
    return crossfade(context[here:], context[here - period :], fade)


def energy(pcm: Mono) -> float:
    """Mean square; 0 for nothing."""
    return float(pcm @ pcm) / len(pcm) if len(pcm) else float(np.float32(0))
