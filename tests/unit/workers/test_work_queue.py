import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.work_queue import WorkQueue


@dataclass
class Item:
    priority: int
    number: int


@given(st.lists(st.integers(0, 3)))
def test_the_lowest_priority_comes_first_and_among_equals_the_first(priorities):
    queue = WorkQueue()
    items = [Item(priority, number) for number, priority in enumerate(priorities)]
    for item in items:
        queue.put(item)

    assert [queue.get_nowait() for _ in items] == sorted(items, key=lambda item: item.priority)


def test_an_empty_queue_says_so_at_once_or_after_the_time_given():
    with pytest.raises(Empty):
        WorkQueue().get_nowait()
    with pytest.raises(Empty):
        WorkQueue().get(timeout=0.01)


def test_each_of_many_threads_takes_what_no_other_takes():
    queue = WorkQueue()
    taken = [[] for _ in range(8)]

    def take(mine):
        while (item := queue.get(timeout=10)).number >= 0:
            mine.append(item.number)
            queue.task_done()

    threads = [threading.Thread(target=take, args=[mine]) for mine in taken]
    for thread in threads:
        thread.start()
    for number in range(20_000):
        queue.put(Item(number % 3, number))
    queue.join()
    for _ in threads:
        queue.put(Item(9, -1))
    for thread in threads:
        thread.join(10)

    assert sorted(number for mine in taken for number in mine) == list(range(20_000))


def test_a_thread_whose_item_another_takes_comes_back_when_its_time_is_over():
    """However close to its end the item comes: queue.SimpleQueue would then wait for ever."""
    queue, looks, over = WorkQueue(), [0] * 4, threading.Event()

    def look(place):
        while not over.is_set():
            with suppress(Empty):
                queue.get(timeout=0.0005)
            looks[place] += 1

    threads = [threading.Thread(target=look, args=[place]) for place in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1_000):
        queue.put(Item(0, number))
        with suppress(Empty):
            queue.get_nowait()
        time.sleep(0.0004)
    over.set()
    for thread in threads:
        thread.join(5)

    assert not any(thread.is_alive() for thread in threads)
    assert min(looks) > 0


def test_a_thread_that_sleeps_is_woken_by_an_item():
    queue, found = WorkQueue(), []
    thread = threading.Thread(target=lambda: found.append(queue.get().number))
    thread.start()
    while not queue._sleepers:
        time.sleep(0.001)

    queue.put(Item(0, 7))
    thread.join(5)

    assert found == [7]


def test_what_was_taken_is_unfinished_until_it_is_done():
    queue = WorkQueue()
    queue.put(Item(0, 1))
    queue.get()

    assert queue.unfinished_tasks == 1
    queue.task_done()
    assert queue.unfinished_tasks == 0
