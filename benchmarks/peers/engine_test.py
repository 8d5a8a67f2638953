"""Drives `vexact-bench engine` as scripts/bench does and holds its answers against the words of docs/exactness.md.

Usage: engine_test.py VEXACT_BENCH
"""

import struct
import sys
import unittest

try:
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}; install python3-numpy")
    sys.exit(77)

from engine import ENGINES, METRICS, Engine, EngineError

ROWS, DIMENSION, QUERIES, K = 700, 37, 9, 20


def lanes(terms):
    """Sums the last axis in the reference score's order: 16 lanes, then halves onto halves."""
    padded = np.zeros(terms.shape[:-1] + (-(-terms.shape[-1] // 16), 16))
    padded.reshape(*terms.shape[:-1], -1)[..., :terms.shape[-1]] = terms
    lane = np.zeros(terms.shape[:-1] + (16,))
    for step in range(padded.shape[-2]):
        lane += padded[..., step, :]
    for width in (8, 4, 2, 1):
        lane = lane[..., :width] + lane[..., width:]
    return lane[..., 0]


def reference_scores(metric, query, rows):
    q, x = query.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return lanes((q - x) ** 2)
    dot = lanes(q * x)
    return dot if metric == "inner_product" else dot / np.sqrt(lanes(q * q) * lanes(x * x))


def reference_answers(metric, queries, rows, k):
    """Ids and scores of the nearest, equal scores by ascending id."""
    ids, scores = [], []
    for query in queries:
        score = reference_scores(metric, query, rows)
        nearest = np.lexsort((np.arange(len(rows)), score if metric == "l2" else -score))[:k]
        ids.append(nearest)
        scores.append(score[nearest])
    return np.array(ids, np.uint64), np.array(scores)


def data():
    random = np.random.default_rng(7)
    rows = random.standard_normal((ROWS, DIMENSION)).astype(np.float32)
    queries = random.standard_normal((QUERIES, DIMENSION)).astype(np.float32)
    # Ties, at the first place and across the k-th, under ids far apart.
    rows[[3, 350, 699]] = queries[0]
    rows[100:100 + 2 * K:2] = queries[1]
    return rows, queries


class EngineTest(unittest.TestCase):
    def setUp(self):
        self.engine = Engine(PROGRAM, threads=2)
        self.addCleanup(self.engine.close)
        self.rows, self.queries = data()

    def fill(self, metric="inner_product"):
        self.engine.create(DIMENSION, metric)
        self.engine.add(self.rows)
        self.assertGreaterEqual(self.engine.settle(), 0)

    def assert_refused(self, words, call, *arguments):
        with self.assertRaises(EngineError) as refused:
            call(*arguments)
        for word in words:
            self.assertIn(word, str(refused.exception))

    def test_answers_are_the_reference_bits_whatever_the_engine_and_the_batch(self):
        for metric in METRICS:
            self.fill(metric)
            ids, scores = reference_answers(metric, self.queries, self.rows, K)
            for engine in ENGINES:
                for batch in (1, QUERIES):
                    with self.subTest(metric=metric, engine=engine, batch=batch):
                        for at in range(0, QUERIES, batch):
                            seconds, got_ids, got_scores = self.engine.search(
                                self.queries[at:at + batch], K, engine)
                            np.testing.assert_array_equal(got_ids, ids[at:at + batch])
                            np.testing.assert_array_equal(
                                got_scores.view(np.uint64), scores[at:at + batch].view(np.uint64))
                            self.assertGreater(seconds, 0)

    def test_k_beyond_the_rows_gives_all_of_them(self):
        self.fill()
        _, ids, scores = self.engine.search(self.queries, ROWS + 5)
        self.assertEqual(ids.shape, (QUERIES, ROWS))
        self.assertEqual(scores.shape, (QUERIES, ROWS))

    def test_the_yardstick_finds_the_nearest_rows(self):
        self.fill()
        for query in self.queries[2:]:  # those without ties: the yardstick orders ties as it meets them
            ids, _ = reference_answers("inner_product", query[None], self.rows, 5)
            _, got = self.engine.fp32_scan(query, 5)
            np.testing.assert_array_equal(got, ids)

    def test_a_new_collection_takes_the_place_of_the_old(self):
        self.fill()
        self.engine.create(2, "l2")
        self.engine.add(np.array([[3, 4]], np.float32))
        _, ids, scores = self.engine.search(np.zeros((1, 2)), 10)
        self.assertEqual((ids.tolist(), scores.tolist()), ([[0]], [[25.0]]))

    def test_describe_tells_what_is_measured(self):
        self.fill("l2")
        about = self.engine.describe()
        self.assertEqual([about[name] for name in ("rows", "dimension", "metric", "threads")],
                         [ROWS, DIMENSION, "l2", 2])
        self.assertTrue(about["isa"])
        self.assertGreaterEqual(about["rows_bytes"], 4 * ROWS * DIMENSION)

    def test_bad_requests_are_refused_with_the_field_the_value_and_the_limit(self):
        self.fill()
        before = self.engine.search(self.queries, K)
        engine, query = self.engine, self.queries[:1]
        self.assert_refused(["query 0", "3 components", f"{DIMENSION} dimensions"],
                            engine.search, query[:, :3], K)
        self.assert_refused(["3 components", f"{DIMENSION} dimensions"], engine.fp32_scan, query[0, :3], K)
        self.assert_refused(["3 components", f"{DIMENSION} dimensions"], engine.add, self.rows[:, :3])
        self.assert_refused(["k ", "0", "1", "10000"], engine.search, query, 0)
        self.assert_refused(["k ", "0", "1", "10000"], engine.fp32_scan, query[0], 0)
        self.assert_refused(["command is 99", "at most 6"], engine.call, 99)
        self.assert_refused(["metric is 3", "at most 2"], engine.call, 1, struct.pack("<II", 4, 3))
        self.assert_refused(["dimension", "0", "65536"], engine.create, 0, "l2")
        self.assert_refused(["engine is 7", "at most 2"], engine.call, 4,
                            struct.pack("<IIQI", 7, K, 1, DIMENSION), query)
        self.assert_refused(["ends before its last field"], engine.call, 4,
                            struct.pack("<IIQI", 0, K, 2, DIMENSION), query)
        self.assert_refused(["ends before its last field"], engine.call, 4,
                            struct.pack("<IIQI", 0, K, 2**62, DIMENSION), query)
        self.assert_refused(["4 bytes after its last field"], engine.call, 0, b"more")
        bad = self.rows[:2].copy()
        bad[1, 5] = np.nan
        self.assert_refused(["row 1", "component 5", "NaN"], engine.add, bad)
        for was, now in zip(before[1:], engine.search(self.queries, K)[1:]):
            np.testing.assert_array_equal(was, now)

    def test_requests_before_create_are_refused(self):
        self.engine.ping()
        for call in (lambda: self.engine.add(self.rows), self.engine.settle, self.engine.describe,
                     lambda: self.engine.search(self.queries, K), lambda: self.engine.fp32_scan(self.queries[0], K)):
            self.assert_refused(["create"], call)

    def test_the_process_ends_with_its_input_and_says_when_that_was_too_early(self):
        self.assertEqual(self.engine.close(), 0)
        for beginning in (b"abc", struct.pack("<QI", 400, 4), struct.pack("<Q", 2**60)):
            engine = Engine(PROGRAM, threads=1)
            engine.send(beginning)
            self.assertEqual(engine.close(), 1)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
