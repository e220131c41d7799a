"""Items made by a thread of their own, while those before are worked on."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], depth: int, stop: threading.Event | None = None) -> Iterator[Item]:
    """The same items, at most so many before they are wanted. stop: is set when no more are, so that nothing waits for
    the network."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        try:
            pending = deque(pool.submit(next, items, None) for _ in range(depth))
            while (item := pending.popleft().result()) is not None:
                pending.append(pool.submit(next, items, None))
                yield item
        finally:
            if stop:
                stop.set()
