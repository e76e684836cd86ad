"""All of the model's benchmarks, one behind the other."""

import gc
import math
import os
from collections.abc import Callable, Sequence

import torch

from dexvla_model.benchmark import expert, reasoning
from dexvla_model.benchmark.table import Row
from dexvla_model.errors import UserError

# The small model has both an expert and a backbone.
SIZES = tuple(dict.fromkeys([*expert.SIZES, *reasoning.SIZES]))
DEFAULT_SIZES = ("tiny", "scaledp-l", "scaledp-h", "qwen2-vl-2b")
DTYPES = tuple(expert.DTYPES)


def benchmark_model(
    sizes: Sequence[str] = DEFAULT_SIZES,
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    threads: int = 0,
    repeats: int = 5,
    compile_network: bool = False,
    progress: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Rows for every size in every type. What does not fit into memory is a row that says so, not an error.

    Args:
        sizes: of `SIZES`: experts give chunks, backbones sub-steps. dtypes: of `DTYPES`.
        device: as torch names it. threads: of a matrix product, for the whole process from then on; 0 for one
            per core.
        repeats: how often each alternative runs.
        compile_network: time the expert with torch.compile, too.
        progress: told what is going on.

    Raises:
        UserError: an unknown size, type or device, or nothing fitted into memory.
    """
    for name, values, allowed in (("size", sizes, SIZES), ("dtype", dtypes, DTYPES)):
        for value in values:
            if value not in allowed:
                raise UserError(f"--{name} is {value!r}, allowed are {', '.join(allowed)}: choose one.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device {device!r} is not available here: use cpu or one that torch reports."
        ) from error
    torch.set_num_threads(threads or os.cpu_count() or 1)
    rows: list[Row] = []
    refusals = []

    def add(size: str, dtype: str, measure: Callable[[], list[Row]]) -> None:
        try:
            rows.extend(measure())
        except UserError as error:
            refusals.append(error)
            rows.append(Row(f"{size} {dtype}", math.nan, math.nan, notes=str(error)))
        gc.collect()

    for size in sizes:
        for dtype in dtypes:
            if size in expert.SIZES:
                add(
                    size,
                    dtype,
                    lambda: expert.benchmark_expert(size, dtype, device, repeats, compile_network, progress),
                )
            if size in reasoning.SIZES:
                add(
                    size,
                    dtype,
                    lambda: reasoning.benchmark_reasoning(size, dtype, device, repeats, progress=progress),
                )
    if len(refusals) == len(rows):
        raise refusals[0]
    return rows
