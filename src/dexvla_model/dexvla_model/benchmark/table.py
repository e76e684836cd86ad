"""Rows of a benchmark: one measurement of ours beside the baseline's."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of a benchmark's table.

    Attributes:
        name: what was done.
        baseline_ms, ours_ms: medians; NaN where one of them was not measured.
        floor_ms: no program takes less on this machine, see `dexvla_model.benchmark.machine`; NaN where not
            known.
        notes: differences in the numbers that came out, sizes, what is counted.
        ratio: baseline over ours; above 1 ours is faster. Given where it was measured otherwise than by the
            quotient.
    """

    name: str
    baseline_ms: float
    ours_ms: float
    ratio: float = math.nan
    floor_ms: float = math.nan
    notes: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.ratio) and self.ours_ms > 0.0:
            object.__setattr__(self, "ratio", self.baseline_ms / self.ours_ms)

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dict; what is not known is None."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }
