"""Drives vexactd from Python's grpcio, with stubs generated here and now from proto/.

Nothing is shared with the project's own code: not the stubs, not the client, not the arithmetic. The scores are
recomputed in numpy from the words of docs/exactness.md and compared bit for bit.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import math
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import google.protobuf
    import grpc
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}; install python3-grpcio, python3-protobuf and python3-numpy")
    sys.exit(77)

OPTIONS = argparse.Namespace()
READY = re.compile(r" ready .*\blisten=(\S+)")


def generate_stubs(folder):
    """Makes Python modules of the project's protocol, and of gRPC's own health and reflection."""
    here = os.path.dirname(os.path.abspath(__file__))
    protos = [f"vexact/v1/{name}.proto" for name in ("types", "collections", "points", "search", "statistics", "server")]
    subprocess.run(
        [OPTIONS.protoc, f"-I{OPTIONS.proto}", f"-I{here}", f"--python_out={folder}",
         f"--grpc_python_out={folder}", f"--plugin=protoc-gen-grpc_python={OPTIONS.plugin}",
         *protos, "health.proto", "reflection.proto"],
        check=True)
    sys.path.insert(0, folder)


class Server:
    """The real vexactd on a free port."""

    def __init__(self, *args):
        # A developer's own settings must not decide the test.
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("VEXACT_") or name == "VEXACT_FORCE_ISA"}
        self.process = subprocess.Popen([OPTIONS.vexactd, "--listen", "127.0.0.1:0", "--in-memory", *args],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, env=environment)
        self.address = None
        for line in self.process.stderr:
            found = READY.search(line)
            if found:
                self.address = found.group(1)
                break
        if self.address is None:
            raise RuntimeError(f"vexactd did not get ready: status {self.process.wait()}")

    def stop(self):
        """Ends it by SIGTERM; the exit status and what it had logged since it was ready."""
        self.process.send_signal(signal.SIGTERM)
        try:
            _, log = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, log = self.process.communicate()
        return self.process.returncode, log


# The reference scores, row by row: docs/exactness.md, section 1.


def lanes(terms):
    """Sums n x d float64 terms along d: 16 lanes in increasing order, then a halving tree."""
    count, dimension = terms.shape
    padded = np.zeros((count, -(-dimension // 16) * 16))
    padded[:, :dimension] = terms
    lane = np.zeros((count, 16))
    for begin in range(0, padded.shape[1], 16):
        lane = lane + padded[:, begin:begin + 16]
    for width in (8, 4, 2, 1):
        lane = lane[:, :width] + lane[:, width:2 * width]
    return lane[:, 0]


def dots(query, rows):
    return lanes(rows.astype(np.float64) * query.astype(np.float64))


def scores(metric, query, rows):
    if metric == "l2":
        difference = query.astype(np.float64) - rows.astype(np.float64)
        return lanes(difference * difference)
    product = dots(query, rows)
    if metric == "inner_product":
        return product
    own = np.array([dots(row, row[None, :])[0] for row in rows])
    return product / np.sqrt(dots(query, query[None, :])[0] * own)


def id_order(point_id):
    """Numbers before texts, numbers numerically, texts bytewise."""
    return (isinstance(point_id, str), point_id if isinstance(point_id, int) else point_id.encode())


def nearest(metric, query, rows, ids, k):
    score = scores(metric, query, rows)
    sign = 1 if metric == "l2" else -1
    order = sorted(range(len(ids)), key=lambda i: (sign * score[i], id_order(ids[i])))[:k]
    return [(ids[i], struct.pack("<d", score[i])) for i in order]


class InteropTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.vexactd = Server()
        cls.addClassCleanup(cls.stop_server)
        cls.channel = grpc.insecure_channel(
            cls.vexactd.address, options=[("grpc.max_receive_message_length", 64 << 20),
                                         ("grpc.max_send_message_length", -1)])
        cls.addClassCleanup(cls.channel.close)
        for name in ("types", "collections", "points", "search", "statistics", "server"):
            setattr(cls, name, importlib.import_module(f"vexact.v1.{name}_pb2"))
        stub = lambda name: importlib.import_module(f"vexact.v1.{name}_pb2_grpc")
        cls.collections_stub = stub("collections").CollectionsStub(cls.channel)
        cls.points_stub = stub("points").PointsStub(cls.channel)
        cls.search_stub = stub("search").SearchStub(cls.channel)
        cls.server_stub = stub("server").ServerStub(cls.channel)

    @classmethod
    def stop_server(cls):
        status, log = cls.vexactd.stop()
        assert status == 0, f"vexactd ended with status {status}:\n{log}"

    def create(self, dimension, metric="METRIC_COSINE", **more):
        """A collection named after the running test."""
        name = self.id().split(".")[-1]
        response = self.collections_stub.CreateCollection(self.collections.CreateCollectionRequest(
            name=name, dimension=dimension, metric=self.types.Metric.Value(metric), **more))
        self.assertTrue(response.created)
        return name

    def make_id(self, value):
        return self.types.Id(text=value) if isinstance(value, str) else self.types.Id(number=value)

    def read_id(self, message):
        return getattr(message, message.WhichOneof("form"))

    def upsert(self, name, ids, rows):
        points = [self.points.Point(id=self.make_id(i), vector=self.types.Vector(values=row.tolist()))
                  for i, row in zip(ids, rows)]
        return self.points_stub.Upsert(self.points.UpsertRequest(collection=name, points=points))

    def assert_refused(self, code, pattern, call):
        """The call ends with this code and a message that matches the whole pattern."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertRegex(caught.exception.details(), f"^{pattern}$")


class Collections(InteropTest):

    def test_life_of_a_collection(self):
        name = self.create(3, metric="METRIC_L2")
        again = self.collections_stub.CreateCollection(self.collections.CreateCollectionRequest(
            name=name, dimension=3, metric=self.types.METRIC_L2))
        self.assertFalse(again.created)
        self.upsert(name, [1, 2], np.array([[3, 4, 0], [0, 0, 1]], np.float32))
        described = self.collections_stub.GetCollection(self.collections.GetCollectionRequest(name=name))
        self.assertEqual((described.collection.dimension, described.collection.rows), (3, 2))
        self.assertEqual(described.collection.normalization, self.types.NORMALIZATION_NONE)
        self.assertEqual((described.norms.min, described.norms.mean, described.norms.max), (1, 3, 5))
        self.assertEqual((described.norms.unit_rows, described.norms.zero_rows), (1, 0))
        self.assertGreaterEqual(described.memory.rows_bytes, 2 * 3 * 4)
        changed = self.collections_stub.SetMetric(self.collections.SetMetricRequest(
            name=name, metric=self.types.METRIC_INNER_PRODUCT))
        self.assertEqual(changed.collection.metric, self.types.METRIC_INNER_PRODUCT)
        listed = self.collections_stub.ListCollections(self.collections.ListCollectionsRequest())
        self.assertIn(name, [collection.name for collection in listed.collections])
        deleted = self.collections_stub.DeleteCollection(
            self.collections.DeleteCollectionRequest(name=name))
        self.assertEqual(deleted.rows, 2)
        self.assert_refused(
            grpc.StatusCode.NOT_FOUND, f'no collection "{name}"\\. .*',
            lambda: self.collections_stub.GetCollection(self.collections.GetCollectionRequest(name=name)))

    def test_info(self):
        info = self.server_stub.GetInfo(self.server.GetInfoRequest())
        self.assertRegex(info.version, r"^\d+\.\d+\.\d+$")
        self.assertEqual(info.limits.max_message_bytes, 64 << 20)
        self.assertEqual((info.limits.max_dimension, info.limits.max_queries, info.limits.max_k,
                          info.limits.max_page_size, info.limits.max_id_bytes,
                          info.limits.max_name_length), (65536, 4096, 10000, 10000, 512, 128))


class Points(InteropTest):

    def setUp(self):
        self.random = np.random.default_rng(1)

    def stored(self, name, ids):
        response = self.points_stub.GetPoints(self.points.GetPointsRequest(
            collection=name, ids=[self.make_id(i) for i in ids]))
        return [np.frombuffer(point.vector.packed, "<f4") for point in response.points]

    def test_upsert_in_every_form_keeps_the_bits(self):
        name = self.create(5)
        rows = self.random.standard_normal((6, 5)).astype(np.float32)
        first = self.upsert(name, [1, "one"], rows[:2])
        self.assertEqual((first.added, first.replaced), (2, 0))
        packed = self.points.Point(id=self.make_id(2),
                                   vector=self.types.Vector(packed=rows[2].astype("<f4").tobytes()))
        self.points_stub.Upsert(self.points.UpsertRequest(collection=name, points=[packed]))
        self.points_stub.Upsert(self.points.UpsertRequest(collection=name, block=self.points.PointBlock(
            numbers=[3], vectors=rows[3].tobytes())))
        last = self.points_stub.Upsert(self.points.UpsertRequest(
            collection=name, block=self.points.PointBlock(texts=["four", "one"], vectors=rows[4:].tobytes())))
        self.assertEqual((last.added, last.replaced), (1, 1))
        expected = {1: rows[0], 2: rows[2], 3: rows[3], "four": rows[4], "one": rows[5]}
        for stored, row in zip(self.stored(name, expected), expected.values()):
            self.assertEqual(stored.tobytes(), row.tobytes())

    def test_bulk_stream_acknowledges_each_request(self):
        name = self.create(8)
        rows = self.random.standard_normal((1000, 8)).astype(np.float32)
        requests = [self.points.UpsertRequest(collection=name, block=self.points.PointBlock(
            numbers=range(begin, begin + 100), vectors=rows[begin:begin + 100].tobytes()))
            for begin in range(0, 1000, 100)]
        answers = list(self.points_stub.BulkUpsert(iter(requests)))
        self.assertEqual([answer.acknowledged for answer in answers], list(range(1, 11)))
        self.assertEqual([answer.result.added for answer in answers], [100] * 10)
        count = self.points_stub.CountPoints(self.points.CountPointsRequest(collection=name))
        self.assertEqual((count.rows, count.sequence), (1000, answers[-1].result.sequence))

    def test_bulk_stream_ends_at_the_first_refused_request(self):
        name = self.create(2)
        good = lambda i: self.points.UpsertRequest(collection=name, block=self.points.PointBlock(
            numbers=[i], vectors=np.ones(2, "<f4").tobytes()))
        bad = self.points.UpsertRequest(collection=name, block=self.points.PointBlock(
            numbers=[8, 9], vectors=np.array([1, 1, 1, np.nan], "<f4").tobytes()))
        seen = []

        def run():
            for answer in self.points_stub.BulkUpsert(iter([good(1), good(2), bad, good(3)])):
                seen.append(answer.acknowledged)

        self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT,
                            "request 3 of the stream: row 1: component 1 is NaN.*", run)
        self.assertEqual(seen, [1, 2])
        count = self.points_stub.CountPoints(self.points.CountPointsRequest(collection=name))
        self.assertEqual(count.rows, 2)

    def test_scroll_visits_every_point_once_in_id_order(self):
        name = self.create(1)
        ids = [int(i) for i in self.random.permutation(50)] + [f"t{i}" for i in range(50)]
        self.upsert(name, ids, np.ones((100, 1), np.float32))
        seen, token = [], b""
        while True:
            page = self.points_stub.ScrollPoints(self.points.ScrollPointsRequest(
                collection=name, page_size=7, page_token=token))
            self.assertLessEqual(len(page.points), 7)
            seen += [self.read_id(point.id) for point in page.points]
            token = page.next_page_token
            if not token:
                break
        self.assertEqual(seen, sorted(ids, key=id_order))

    def test_delete_counts_what_was_there(self):
        name = self.create(1)
        self.upsert(name, [1, 2, 3], np.ones((3, 1), np.float32))
        deleted = self.points_stub.DeletePoints(self.points.DeletePointsRequest(
            collection=name, ids=[self.make_id(i) for i in (1, 3, 9)]))
        self.assertEqual((deleted.deleted, deleted.missing), (2, 1))
        self.assert_refused(grpc.StatusCode.NOT_FOUND, f'no id 1 in collection "{name}"',
                            lambda: self.stored(name, [2, 1]))


class Search(InteropTest):

    def test_every_score_has_the_reference_bits(self):
        random = np.random.default_rng(2)
        for dimension in (1, 3, 16, 17, 100, 384):
            with self.subTest(dimension=dimension):
                self.check_scores(random, dimension)

    def check_scores(self, random, dimension):
        name = f"scores-{dimension}"
        self.collections_stub.CreateCollection(
            self.collections.CreateCollectionRequest(name=name, dimension=dimension))
        rows = random.standard_normal((300, dimension)) * 10.0 ** random.integers(-6, 7, (300, 1))
        rows = rows.astype(np.float32)
        rows[200:250] = rows[:50]  # exact ties, which ids decide
        ids = [int(i) for i in random.permutation(150)] + [f"id {i}" for i in range(150)]
        self.upsert(name, ids, rows)
        queries = np.concatenate([random.standard_normal((4, dimension)).astype(np.float32), -rows[:2]])
        for metric in ("inner_product", "cosine", "l2"):
            response = self.search_stub.Search(self.search.SearchRequest(
                collection=name, k=40, metric=self.types.Metric.Value(f"METRIC_{metric.upper()}"),
                queries=[self.search.Query(vector=self.types.Vector(packed=query.tobytes()))
                         for query in queries]))
            self.assertEqual(response.rows_compared, 300)
            self.assertGreater(response.server_time_ns, 0)
            for query, result in zip(queries, response.results):
                found = [(self.read_id(hit.id), struct.pack("<d", hit.score)) for hit in result.hits]
                self.assertEqual(found, nearest(metric, query, rows, ids, 40), metric)
                for hit in result.hits:
                    self.assertEqual(hit.distance, math.sqrt(hit.score) if metric == "l2" else 0)

    def test_by_id_without_itself_and_with_vectors(self):
        name = self.create(4)
        rows = np.random.default_rng(3).standard_normal((20, 4)).astype(np.float32)
        self.upsert(name, range(20), rows)
        for engine in (self.types.ENGINE_SCAN, self.types.ENGINE_REFERENCE, self.types.ENGINE_FAISS):
            response = self.search_stub.Search(self.search.SearchRequest(
                collection=name, k=100, engine=engine, with_vectors=True,
                queries=[self.search.Query(id=self.make_id(7)),
                         self.search.Query(id=self.make_id(7), exclude_self=True)]))
            self.assertEqual(response.engine, engine)
            whole, others = ([self.read_id(hit.id) for hit in result.hits] for result in response.results)
            self.assertEqual(whole[0], 7)
            self.assertEqual(whole[1:], others)
            self.assertEqual(len(others), 19)
            for hit in response.results[0].hits:
                self.assertEqual(hit.vector.packed, rows[hit.id.number].tobytes())

    def test_textbook_comparison(self):
        compare = lambda a, b: self.search_stub.Compare(self.search.CompareRequest(
            a=self.search.Operand(vector=self.types.Vector(values=a)),
            b=self.search.Operand(vector=self.types.Vector(values=b))))
        self.assertEqual(compare([3, 1, 2], [1, 4, 2]).dot_product, 11)
        projected = compare([4, 3], [1, 0])
        self.assertEqual(projected.scalar_projection, 4)
        self.assertEqual(list(projected.vector_projection), [4, 0])
        self.assertEqual((projected.norm_a, projected.norm_b), (5, 1))
        self.assertAlmostEqual(compare([1, 0], [1, 1]).angle_degrees, 45)
        self.assertAlmostEqual(compare([1, 0], [0.8, 0.6]).euclidean_distance, math.sqrt(0.4), places=6)
        self.assertFalse(compare([0, 0], [1, 1]).HasField("cosine_similarity"))


class Errors(InteropTest):

    def search_with(self, name, **fields):
        values = {"collection": name, "k": 1, "queries": [
            self.search.Query(vector=self.types.Vector(values=[1, 2, 3]))]} | fields
        return lambda: self.search_stub.Search(self.search.SearchRequest(**values))

    def test_wrong_input_is_named_and_changes_nothing(self):
        name = self.create(3)
        self.upsert(name, [1], np.ones((1, 3), np.float32))
        before = self.points_stub.CountPoints(self.points.CountPointsRequest(collection=name))
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.assert_refused(invalid, f'row 1 has 2 components; collection "{name}" has 3 dimensions',
                            lambda: self.upsert(name, [5, 6], [np.ones(3), np.ones(2)]))
        self.assert_refused(invalid, r"row 0: component 2 is \+infinity; .*",
                            lambda: self.upsert(name, [5], np.array([[1, 1, np.inf]])))
        self.assert_refused(invalid, "row 0 is a zero vector.*",
                            lambda: self.upsert(name, [5], np.zeros((1, 3))))
        self.assert_refused(invalid, "row 1: id 5 occurs already at row 0.*",
                            lambda: self.upsert(name, [5, 5], np.ones((2, 3))))
        self.assert_refused(invalid, "k is 0; it must be 1 to 10000", self.search_with(name, k=0))
        self.assert_refused(invalid, "the request has 0 queries; it must have 1 to 4096",
                            self.search_with(name, queries=[]))
        self.assert_refused(invalid, "metric is 9, which this server does not know.*",
                            self.search_with(name, metric=9))
        after = self.points_stub.CountPoints(self.points.CountPointsRequest(collection=name))
        self.assertEqual(after, before)

    def test_a_page_token_that_was_tampered_with(self):
        name = self.create(1)
        self.upsert(name, range(9), np.ones((9, 1), np.float32))
        page = lambda token: self.points_stub.ScrollPoints(self.points.ScrollPointsRequest(
            collection=name, page_size=3, page_token=token))
        token = bytearray(page(b"").next_page_token)
        token[-1] ^= 1
        self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT, "page_token of .*",
                            lambda: page(bytes(token)))

    def test_a_message_above_the_limit(self):
        name = self.create(3)
        request = self.points.UpsertRequest(collection=name, block=self.points.PointBlock(
            numbers=[1], vectors=bytes(65 << 20)))
        self.assert_refused(grpc.StatusCode.RESOURCE_EXHAUSTED,
                            r"Received message larger than max \(\d+ vs\. 67108864\)",
                            lambda: self.points_stub.Upsert(request))


class StockTools(InteropTest):
    """What graphical clients, load balancers and grpcurl rely on."""

    def test_health(self):
        health = importlib.import_module("health_pb2")
        stub = importlib.import_module("health_pb2_grpc").HealthStub(self.channel)
        services = ["", *(f"vexact.v1.{name}" for name in ("Collections", "Points", "Search", "Server", "Snapshots"))]
        for service in services:
            response = stub.Check(health.HealthCheckRequest(service=service))
            self.assertEqual(response.status, health.HealthCheckResponse.SERVING, service)
            watch = stub.Watch(health.HealthCheckRequest(service=service))
            self.assertEqual(next(watch).status, health.HealthCheckResponse.SERVING, service)
            watch.cancel()
        self.assert_refused(grpc.StatusCode.NOT_FOUND, ".*",
                            lambda: stub.Check(health.HealthCheckRequest(service="no.such.Service")))

    def test_reflection_describes_every_service(self):
        reflection = importlib.import_module("reflection_pb2")
        stub = importlib.import_module("reflection_pb2_grpc").ServerReflectionStub(self.channel)
        ask = lambda **request: next(stub.ServerReflectionInfo(
            iter([reflection.ServerReflectionRequest(**request)])))
        listed = [service.name for service in ask(list_services="").list_services_response.service]
        for name in ("Collections", "Points", "Search", "Server", "Snapshots"):
            self.assertIn(f"vexact.v1.{name}", listed)
        self.assertIn("grpc.health.v1.Health", listed)
        from google.protobuf import descriptor_pb2
        answer = ask(file_containing_symbol="vexact.v1.Search.Search")
        files = [descriptor_pb2.FileDescriptorProto.FromString(raw)
                 for raw in answer.file_descriptor_response.file_descriptor_proto]
        self.assertIn("vexact/v1/search.proto", [file.name for file in files])


class Security(InteropTest):
    """TLS and an API key, as docs/api.md has them for a stock client."""

    def test_tls_and_a_key(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        cert, cert_key, keys = (os.path.join(folder, name) for name in ("cert.pem", "key.pem", "keys"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", cert_key, "-out", cert], check=True, stderr=subprocess.DEVNULL)
        digest = hashlib.sha256(b"vx_secret").hexdigest()
        with open(keys, "w", encoding="ascii") as file:
            file.write(f"reports read * sha256:{digest}\n")
        vexactd = Server("--tls-cert", cert, "--tls-key", cert_key, "--api-keys-file", keys)
        self.addCleanup(vexactd.stop)
        with open(cert, "rb") as file:
            tls = grpc.ssl_channel_credentials(file.read())
        cases = [(tls, grpc.StatusCode.UNAUTHENTICATED),
                 (grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials("vx_other")),
                  grpc.StatusCode.UNAUTHENTICATED),
                 (grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials("vx_secret")),
                  grpc.StatusCode.PERMISSION_DENIED)]
        for credentials, code in cases:
            with self.subTest(code=code), grpc.secure_channel(vexactd.address, credentials) as channel:
                stub = importlib.import_module("vexact.v1.collections_pb2_grpc").CollectionsStub(channel)
                with self.assertRaises(grpc.RpcError) as refused:
                    stub.CreateCollection(self.collections.CreateCollectionRequest(name="docs", dimension=3))
                self.assertEqual(refused.exception.code(), code, refused.exception.details())
        # The last of them may read.
        with grpc.secure_channel(vexactd.address, cases[-1][0]) as channel:
            stub = importlib.import_module("vexact.v1.collections_pb2_grpc").CollectionsStub(channel)
            self.assertEqual(len(stub.ListCollections(self.collections.ListCollectionsRequest()).collections), 0)


class Documentation(InteropTest):
    """The examples of docs/api.md do what that page says."""

    def blocks(self, language):
        with open(os.path.join(OPTIONS.docs, "api.md"), encoding="utf-8") as page:
            found = re.findall(rf"^```{language}\n(.*?)^```", page.read(), re.M | re.S)
        self.assertTrue(found)
        return found

    def test_python_examples_run_in_order(self):
        names, printed = {}, io.StringIO()
        with contextlib.redirect_stdout(printed):
            for block in self.blocks("python"):
                exec(block.replace("127.0.0.1:7700", self.vexactd.address), names)
        self.addCleanup(names["channel"].close)
        lines = printed.getvalue().splitlines()
        self.assertIn("10 0", lines)  # ten requests were acknowledged, and replaced what was there
        self.assertTrue(lines[-1].startswith("11.0 50.09"), lines[-1])
        self.assertEqual([len(result.hits) for result in names["answer"].results], [3, 3])

    def test_json_examples_are_messages(self):
        from google.protobuf import json_format
        messages = [self.collections.CreateCollectionRequest, self.points.UpsertRequest,
                    self.search.SearchRequest, self.server.GetInfoResponse]
        blocks = self.blocks("json")
        self.assertEqual(len(blocks), len(messages))
        for block, message in zip(blocks, messages):
            self.assertTrue(json_format.Parse(block, message()).ListFields())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("--vexactd", "--protoc", "--plugin", "--proto", "--docs"):
        parser.add_argument(option, required=True)
    parser.add_argument("tests", nargs="*")
    parser.parse_args(namespace=OPTIONS)
    with tempfile.TemporaryDirectory() as stubs:
        generate_stubs(stubs)
        unittest.main(argv=[sys.argv[0], *OPTIONS.tests], verbosity=2)
