"""The client's end of `vexact-bench engine`: benchmarks/engine_pipe.h has the protocol. Needs numpy alone."""

import json
import struct
import subprocess

import numpy as np

METRICS = ("inner_product", "cosine", "l2")
ENGINES = ("scan", "reference", "faiss")
_BLOCK_BYTES = 16 << 20


class EngineError(Exception):
    """What the engine says of a request that it refused."""


class Engine:
    """A running `vexact-bench engine` with one collection. Use it in a `with` statement: it ends with it."""

    def __init__(self, program, threads):
        self._process = subprocess.Popen([program, "engine", "--threads", str(threads)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the process and returns its exit status."""
        # Half a request may be underway when an interrupt ends us: nobody waits for its answer.
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.stdout.close()
        return self._process.wait()

    def call(self, command, *fields):
        """Sends bytes-like fields under a command's number and returns the reply's fields as bytes."""
        parts = [struct.pack("<I", command), *fields]
        self.send(struct.pack("<Q", sum(memoryview(part).nbytes for part in parts)), *parts)
        size, failed = struct.unpack("<QI", self._read(12))
        reply = self._read(size - 4)
        if failed:
            raise EngineError(reply.decode())
        return reply

    def send(self, *parts):
        """Writes bytes as they are."""
        try:
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _read(self, size):
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise self._ended()
        return data

    def _ended(self):
        return EngineError(f"the engine ended with exit status {self._process.wait()}")

    def ping(self):
        self.call(0)

    def create(self, dimension, metric):
        self.call(1, struct.pack("<II", dimension, METRICS.index(metric)))

    def add(self, rows):
        """Stores rows (n x d) under the ids 0 to n - 1."""
        step = max(1, _BLOCK_BYTES // (4 * rows.shape[1]))
        for first in range(0, len(rows), step):
            block = _vectors(rows[first:first + step])
            self.call(2, struct.pack("<QQI", first, *block.shape), block)

    def settle(self):
        """Waits until nothing goes on in the background; returns the seconds that took."""
        return struct.unpack("<d", self.call(3))[0]

    def search(self, queries, k, engine="scan"):
        """The k nearest of n queries: seconds, ids (n x hits, uint64), scores (n x hits, float64)."""
        queries = _vectors(queries)
        reply = self.call(4, struct.pack("<IIQI", ENGINES.index(engine), k, *queries.shape), queries)
        seconds, hits = struct.unpack_from("<dQ", reply)
        ids, scores = np.split(np.frombuffer(reply, "<u8", offset=16).reshape(2, len(queries), hits), 2)
        return seconds, ids[0], scores[0].view("<f8")

    def fp32_scan(self, query, k):
        """The yardstick's k nearest by float32 inner product: seconds, ids (1 x hits, uint64)."""
        query = _vectors(query)
        reply = self.call(5, struct.pack("<II", k, query.size), query)
        seconds, hits = struct.unpack_from("<dQ", reply)
        return seconds, np.frombuffer(reply, "<u8", hits, 16).reshape(1, hits)

    def describe(self):
        return json.loads(self.call(6))


def _vectors(array):
    return np.ascontiguousarray(array, "<f4")
