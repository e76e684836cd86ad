"""Episodes in parallel: one process per core, each set up once, none of which outlives its parent."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any


def run_episodes(
    processes: int,
    start: Callable[[Any], None],
    job: Any,
    run: Callable[[int], Any],
    seeds: Sequence[int],
) -> Iterator[Any]:
    """Yield `run(seed)` for every seed, as they come in.

    Args:
        start: called with `job` once in every process, before its first episode.
        job, seeds and results have to be picklable; `start` and `run` functions of a module.

    A process that dies raises; an interruption cancels what has not begun.
    """
    if not seeds:
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max(1, min(processes, len(seeds))), context, _start_worker, (start, job))
    try:
        for future in as_completed([pool.submit(run, seed) for seed in seeds]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(start: Callable[[Any], None], job: Any) -> None:
    threading.Thread(target=_end_with_parent, name="end_with_parent", daemon=True).start()
    # One thread per process: the processes share the cores among themselves.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    start(job)


def _end_with_parent() -> None:
    # A worker waits on a queue whose other end it holds itself, so it would never learn that its parent was killed.
    multiprocessing.parent_process().join()
    os._exit(1)
