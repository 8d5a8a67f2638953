"""How contenders are measured: in turns, A B C A B C ..., so that a noisy moment meets all of them."""

import gc
import sys
import time

import numpy as np

K = 10
QUERIES_PER_TURN = 5
# After the contender before, and after a pause, caches are cold and cores asleep; so long is nothing counted.
WARM_UP_SECONDS = 0.01
# OpenMP's threads spin for some 10 ms after a call: the next contender waits until they sleep.
PAUSE_SECONDS = 0.02


def progress(text):
    print(text, file=sys.stderr, flush=True)


def rounds(count, label):
    """range(count), with a counter on a terminal and no garbage collection."""
    gc.collect()
    gc.disable()
    for done in range(count):
        if sys.stderr.isatty():
            print(f"\r\x1b[K{label}: round {done + 1} of {count}", end="", file=sys.stderr, flush=True)
        yield done
    gc.enable()
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def take_turn(search, queries, turn):
    """One contender's turn, one query at a time: what `search` gave for the queries that are not counted, and for those
    that are. The latter are the same for every contender."""
    time.sleep(PAUSE_SECONDS)
    start = turn * QUERIES_PER_TURN

    def ask(number):
        at = number % len(queries)
        seconds, ids = search(queries[at:at + 1], K)
        return at, seconds, ids

    begun = time.perf_counter()
    warm_up = [ask(start - 1)]
    while time.perf_counter() - begun < WARM_UP_SECONDS:
        warm_up.append(ask(start - 1 - len(warm_up)))
    return warm_up, [ask(start + i) for i in range(QUERIES_PER_TURN)]


def quantile(values, q):
    return float(np.quantile(values, q, method="nearest"))
