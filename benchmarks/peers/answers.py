"""Which answers are right."""

import numpy as np

from turns import K, progress

# Where no answers are known, so many queries are answered by the reference engine first.
REFERENCE_QUERIES = 100
# Of |q| |x| (or |q|^2 + |x|^2 under l2): what float32 sums may confuse.
NEAR_TIE = 1e-5


class Answers:
    """The right answers to the first queries of a set, and what became of those that were given."""

    def __init__(self, data, engine, reference_queries=REFERENCE_QUERIES):
        self.data = data
        if data.golden is not None:
            self.ids, self.scores = data.golden
            self.source = "golden files"
        else:
            progress(f"{data.name}: asking the reference engine")
            queries = data.queries[:reference_queries]
            _, self.ids, self.scores = engine.search(queries, K, "reference")
            self.source = "reference engine"
        self.known = len(self.ids)

    def check_exactly(self, engine):
        """Vexact's ids and score bits for every known answer, at its whole depth, one by one and as a batch."""
        depth = self.ids.shape[1]
        queries = self.data.queries[:self.known]
        given = [engine.search(queries[at:at + 1], depth) for at in range(self.known)]
        given = [(np.concatenate([ids for _, ids, _ in given]), np.concatenate([scores for _, _, scores in given])),
                 engine.search(queries, depth)[1:]]
        return sum(int((~self._same(ids, scores)).sum()) for ids, scores in given)

    def _same(self, ids, scores):
        return ((ids == self.ids).all(axis=1) &
                (scores.view("u8") == self.scores.view("u8")).all(axis=1))

    def judge(self, given, exactly=False):
        """Counts the answers [(first query, seconds, ids)] that are the same, that differ in near-ties of float32, and
        that are wrong; `exactly`: as the former are, too."""
        counts = {"same": 0, "near_ties": 0, "wrong": 0}
        for first, _, ids in given:
            for query, found in enumerate(ids, first):
                if query < self.known:
                    verdict = self._verdict(query, found)
                    counts["wrong" if exactly and verdict != "same" else verdict] += 1
        return counts

    def _verdict(self, query, found):
        right = self.ids[query, :K]
        if np.array_equal(found, right):
            return "same"
        if len(set(found.tolist())) != len(right) or max(found) >= len(self.data.rows):
            return "wrong"
        off = np.abs(self._scores(query, found) - self._scores(query, right))
        return "near_ties" if (off <= NEAR_TIE * self._scale(query, right)).all() else "wrong"

    def recall(self, given):
        """The share of the ids found (queries x K) that are among the K nearest; every row at the K-th's score is."""
        good = [(self._scores(query, ids[ids >= 0]) >= self.scores[query, K - 1] - 1e-9).sum()
                for query, ids in enumerate(given)]
        return float(np.sum(good) / given.size)

    def _scores(self, query, ids):
        q, x = self.data.queries[query].astype(np.float64), self.data.rows[ids.astype(np.int64)].astype(np.float64)
        if self.data.metric == "l2":
            return ((q - x) ** 2).sum(axis=1)
        dots = x @ q
        return dots if self.data.metric == "inner_product" else dots / (
            np.linalg.norm(q) * np.linalg.norm(x, axis=1))

    def _scale(self, query, ids):
        q = np.linalg.norm(self.data.queries[query].astype(np.float64))
        x = np.linalg.norm(self.data.rows[ids.astype(np.int64)].astype(np.float64), axis=1).max()
        return {"inner_product": q * x, "cosine": 1.0, "l2": q * q + x * x}[self.data.metric]
