"""The engines that are measured, each behind the same two calls: one that loads rows, one that answers queries.

Every contender is given the configuration in which it answers exactly and fastest that its package offers; where that
takes more than a default, the comment says what. Ids are row numbers. A search returns the seconds that the engine
took, and the ids it found (queries x k). Requests are put together before the clock starts; what the engine returns is
turned into arrays after it has stopped.
"""

import tempfile
import time

import faiss
import numpy as np
import qdrant_edge as qdrant
import usearch.index as usearch


def clocked(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def normalized(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Vexact:
    """The engine behind its pipe, timed inside its process."""

    name = "vexact"

    def __init__(self, data, engine):
        self.engine = engine
        engine.create(data.rows.shape[1], data.metric)
        engine.add(data.rows)
        settled = engine.settle()
        about = engine.describe()
        self.note = (f"{about['isa']}; codes {about['codes_bytes'] / about['rows_bytes']:.2f} of the rows' bytes; "
                     f"{settled:.1f} s of the loading in the background")

    def search(self, queries, k):
        seconds, ids, self.scores = self.engine.search(queries, k)
        return seconds, ids


class Fp32Scan:
    """Not an engine but a yardstick: float32 inner products of every row, read at the memory's speed by all threads;
    inside the process of Vexact, over its rows. It computes inner products whatever the metric is."""

    name = "fp32_scan"

    def __init__(self, data, engine):
        self.engine = engine
        self.note = "" if data.metric == "inner_product" else "inner products, whatever the metric"

    def search(self, queries, k):
        return self.engine.fp32_scan(queries[0], k)


class FaissFlat:
    """IndexFlatIP or IndexFlatL2; cosine is the inner product of normalized vectors. FAISS gives a single query one
    thread, a batch all of them."""

    name = "faiss_flat"
    note = "one thread for a single query"

    def __init__(self, data, threads):
        self.normalize = data.metric == "cosine"
        self.l2 = data.metric == "l2"
        faiss.omp_set_num_threads(threads)
        self.build(*(normalized(vectors) if self.normalize else vectors for vectors in (data.rows, data.queries)))

    def build(self, rows, queries):
        del queries  # nothing to tune
        self.index = (faiss.IndexFlatL2 if self.l2 else faiss.IndexFlatIP)(rows.shape[1])
        self.index.add(rows)

    def search(self, queries, k):
        if self.normalize:
            queries = normalized(queries)
        seconds, (_, ids) = clocked(lambda: self.index.search(queries, k))
        return seconds, ids


class FaissPanorama(FaissFlat):
    """IndexFlatIPPanorama or IndexFlatL2Panorama behind a PCA of all dimensions, with the number of levels that a short
    search finds fastest."""

    name = "faiss_panorama"
    levels_tried = (4, 6, 8, 10, 12, 16, 24, 32, 48)

    def build(self, rows, queries):
        d = rows.shape[1]
        pca = faiss.PCAMatrix(d, d)
        pca.train(rows)
        # A PCA subtracts the mean, after which inner products rank the rows in another order: turn only.
        pca.have_bias = False
        turned = pca.apply(rows)
        make = faiss.IndexFlatL2Panorama if self.l2 else faiss.IndexFlatIPPanorama
        best_seconds = np.inf
        for levels in self.levels_tried:
            width = -(-d // levels)
            if -(-d // width) != levels:  # d dimensions do not make so many levels
                continue
            flat = make(d, levels)
            flat.add(turned)
            index = faiss.IndexPreTransform(pca, flat)
            seconds = self.typical_seconds(index, queries)
            if seconds < best_seconds:
                best_seconds, fastest, self.index, self._kept = seconds, levels, index, (pca, flat)
        tried = ", ".join(map(str, self.levels_tried))
        self.note = f"{fastest} levels, the fastest of {tried}, tried while loading; one thread for a single query"

    @staticmethod
    def typical_seconds(index, queries):
        """The median of a hundred queries, or of those that fit into a second."""
        seconds = []
        for at in range(min(100, len(queries))):
            seconds.append(clocked(lambda at=at: index.search(queries[at:at + 1], 10))[0])
            if sum(seconds) > 1:
                break
        return np.median(seconds)


class FaissHnsw(FaissFlat):
    """IndexHNSWFlat, M = 32: approximate, the more exact the greater efSearch. Built with efConstruction 200: its
    searches then take half the time that they take at the same recall with the default, 40."""

    name = "faiss_hnsw"

    def build(self, rows, queries):
        del queries
        self.index = faiss.IndexHNSWFlat(
            rows.shape[1], 32, faiss.METRIC_L2 if self.l2 else faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 200
        self.index.add(rows)


class QdrantExact:
    """Qdrant's engine in this process, searched with exact=true. It works on a query with one thread a segment, so the
    rows go into as many segments as there are threads; the graph, which an exact search does not use, is not built."""

    name = "qdrant_exact"
    _BLOCK = 10_000

    def __init__(self, data, threads):
        rows = data.rows
        n, d = rows.shape
        distance = {"inner_product": qdrant.Distance.Dot, "cosine": qdrant.Distance.Cosine,
                    "l2": qdrant.Distance.Euclid}[data.metric]
        self._folder = tempfile.TemporaryDirectory(prefix="vexact-bench-")
        segment_rows = -(-n // threads)
        self._shard = qdrant.EdgeShard.create(self._folder.name, qdrant.EdgeConfig(
            vectors=qdrant.EdgeVectorParams(size=d, distance=distance),
            hnsw_config=qdrant.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10),
            # Sizes in KiB; a segment is closed when it is asked for, and none is merged with another.
            optimizers=qdrant.EdgeOptimizersConfig(
                default_segment_number=threads, indexing_threshold=1,
                max_segment_size=max(1, segment_rows * d * 4 * 5 // 4 // 1024)),
            max_search_threads=threads, wal_enabled=False))
        for first in range(0, n, segment_rows):
            self._add(rows, first, min(n, first + segment_rows))
            self._shard.optimize()
        self.note = f"{threads} segments, a thread for each" if threads > 1 else "1 segment"

    def _add(self, rows, first, end):
        for at in range(first, end, self._BLOCK):
            stop = min(end, at + self._BLOCK)
            points = [qdrant.Point(row, vector, None) for row, vector in zip(range(at, stop), rows[at:stop].tolist())]
            self._shard.update(qdrant.UpdateOperation.upsert_points(points))

    def search(self, queries, k):
        request = qdrant.QueryRequest(limit=k, query=qdrant.Query.Nearest(queries[0].tolist()),
                                      params=qdrant.SearchParams(exact=True))
        seconds, points = clocked(lambda: self._shard.query(request))
        return seconds, np.array([[point.id for point in points]])

    def close(self):
        self._shard.close()
        self._folder.cleanup()


class USearchExact:
    """USearch's exact search over the array of rows."""

    name = "usearch_exact"
    note = ""

    def __init__(self, data, threads):
        self._rows, self._threads = data.rows, threads
        self._metric = {"inner_product": usearch.MetricKind.IP, "cosine": usearch.MetricKind.Cos,
                        "l2": usearch.MetricKind.L2sq}[data.metric]

    def search(self, queries, k):
        seconds, matches = clocked(lambda: usearch.search(self._rows, queries[0], k, self._metric, exact=True,
                                                          threads=self._threads))
        return seconds, matches.keys[None]
