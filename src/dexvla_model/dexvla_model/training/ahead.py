"""Making batches ahead of the training step that needs them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Plan = TypeVar("Plan")
Made = TypeVar("Made")


def made_ahead(make: Callable[[Plan], Made], plans: Iterable[Plan], workers: int = 0) -> Iterator[Made]:
    """What `make` makes of each plan, in order. The plans are drawn in the caller's thread alone.

    Args:
        workers: threads that make things ahead; 0 makes each when it is asked for. Threads do: decoding and
            tensor operations leave the interpreter to others, and no frame has to travel between processes.
    """
    if not workers:
        yield from map(make, plans)
        return
    pool = ThreadPoolExecutor(workers, "batches")
    ahead: deque[Future[Made]] = deque()
    try:
        for plan in plans:
            ahead.append(pool.submit(make, plan))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
