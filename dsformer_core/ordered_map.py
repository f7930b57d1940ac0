"""A function over many items in worker threads: results in order, a bounded number under way, prompt at the end."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int
) -> Generator[Result, None, None]:
    """Like `map`, with the calls made in threads before their results are asked for.

    When the caller stops early (closes the iterator, fails, or is interrupted by Ctrl-C), what has not begun is
    dropped, and only the calls already running are waited for.

    Args:
        function: called once per item, in a worker thread. What it raises is raised here, at that item's turn.
        items: taken one at a time, in the caller's thread.
        workers: number of threads.
        ahead: how many results may be under way or waiting; this bounds the memory they take.

    Yields:
        The results, in the order of the items.
    """
    executor = ThreadPoolExecutor(workers)
    under_way: deque[Future[Result]] = deque()
    remaining = iter(items)
    try:
        under_way.extend(executor.submit(function, item) for item in itertools.islice(remaining, max(ahead, workers)))
        while under_way:
            result = under_way.popleft().result()
            under_way.extend(executor.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
