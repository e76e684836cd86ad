"""Timing of alternatives in one process, alternating, so that what else the machine does hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def alternating_medians_s(
    alternatives: Mapping[str, Callable[[], Any]], repeats: int, device: torch.device | str = "cpu"
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median time of each alternative, s, over `repeats` rounds in which each runs once, after one round to
    warm up.

    Returns:
        Medians, and what each alternative returned last, by name.
    """
    taken: dict[str, list[float]] = {name: [] for name in alternatives}
    results: dict[str, Any] = {}
    names = list(alternatives)
    for name in names:
        results[name] = alternatives[name]()
    for number in range(repeats):
        # Each is as often the first as the last of a round.
        for name in names if number % 2 else reversed(names):
            synchronize(device)
            before_s = time.perf_counter()
            results[name] = alternatives[name]()
            synchronize(device)
            taken[name].append(time.perf_counter() - before_s)
    return {name: statistics.median(times) for name, times in taken.items()}, results


def synchronize(device: torch.device | str) -> None:
    """Wait until the device has done all that it was asked to."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()
