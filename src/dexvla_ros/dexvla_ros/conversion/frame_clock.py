"""Which observations become the frames of a dataset that has a fixed rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

_Item = TypeVar("_Item")
# Share of an observation's distance from its tick by which the ticks follow the cameras' own clock.
_FOLLOW = 0.1


@dataclass(frozen=True)
class Hole:
    """Nothing was there for `ticks` ticks between two frames (ns), the later of which may be the next after the hole."""

    after_ns: int
    before_ns: int
    ticks: int


def choose_frames(
    observations: Iterable[tuple[int, _Item]], rate_hz: float
) -> Iterator[tuple[int, _Item] | Hole]:
    """For each tick the observation nearest to it, no further than half a period away; a hole where there is none.

    The first observation is the first tick. The ticks follow slowly what the cameras' clock really does:
    29.97 Hz is neither thinned out nor full of holes at 30 Hz.

    Args:
        observations: (stamp_ns, anything), stamps increasing.
    """
    period_ns = 1e9 / rate_hz
    tick_ns = 0.0
    best: tuple[int, _Item] | None = None
    last_ns: int | None = None
    missed = 0
    for stamp_ns, item in observations:
        if best is None and last_ns is None:
            tick_ns, best = float(stamp_ns), (stamp_ns, item)
            continue
        while stamp_ns > tick_ns + period_ns / 2:
            if best is None:
                missed += 1
                tick_ns += period_ns
                continue
            if missed:
                yield Hole(last_ns, best[0], missed)
                missed = 0
            yield best
            last_ns = best[0]
            tick_ns += period_ns + _FOLLOW * (best[0] - tick_ns)
            best = None
        is_nearer = best is None or abs(stamp_ns - tick_ns) < abs(best[0] - tick_ns)
        if stamp_ns >= tick_ns - period_ns / 2 and is_nearer:
            best = (stamp_ns, item)
    if best is not None:
        if missed:
            yield Hole(last_ns, best[0], missed)
        yield best
