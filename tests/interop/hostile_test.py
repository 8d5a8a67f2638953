"""Clients that keep no protocol: others are served all the while, and the server keeps its size.

Speaks to the port of a real vexactd in raw bytes, while a client as it should be asks its questions and compares the
answers. Nothing is decided by time.
"""

import argparse
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    import grpc
except ImportError as missing:
    print(f"skipped: {missing}; install python3-grpcio and python3-protobuf")
    sys.exit(77)

OPTIONS = argparse.Namespace()
READY = re.compile(r" ready .*\blisten=127\.0\.0\.1:(\d+)")
PATIENCE = 120  # seconds: only there so that a defect does not hang the test

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, CONTINUATION = 0, 1, 4, 9
END_HEADERS = 4


def frame(kind, flags, stream, payload, length=None):
    """An HTTP/2 frame, which may lie about its length."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name, value):
    """HPACK: a literal that is not indexed, with a name of its own."""
    def text(word):
        return bytes([len(word)]) + word.encode()
    return b"\0" + text(name) + text(value)


def call_headers(path):
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "vexact", "te": "trailers",
              "content-type": "application/grpc"}
    return b"".join(header(name, value) for name, value in fields.items())


def vector(*components):
    return TYPES.Vector(values=components)


class Server:
    def __init__(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VEXACT_")}
        self.process = subprocess.Popen([OPTIONS.vexactd, "--listen", "127.0.0.1:0", "--in-memory"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        env=environment)
        for line in self.process.stderr:
            found = READY.search(line)
            if found:
                self.port = int(found.group(1))
                break
        else:
            raise RuntimeError("vexactd is not ready")
        # So that it never waits for a reader of its log.
        self.log = threading.Thread(target=self.process.stderr.read)
        self.log.start()

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(PATIENCE)
        return connection

    def resident(self):
        """Bytes of memory."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.log.join()
        self.process.stderr.close()


class Friend(threading.Thread):
    """Searches, one after the other, and compares; new connections as well as an old one."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.address = f"127.0.0.1:{port}"
        self.answered = 0
        self.wrong = None
        self.ended = threading.Event()
        self.channel = grpc.insecure_channel(self.address)
        self.expected = self.ask(self.channel)

    @staticmethod
    def request():
        return SEARCH.SearchRequest(collection="docs", k=3, queries=[SEARCH.Query(vector=vector(1, 2, 3))])

    def ask(self, channel):
        answer = SEARCH_STUBS.SearchStub(channel).Search(self.request(), timeout=PATIENCE)
        return [(hit.id.number, hit.score) for hit in answer.results[0].hits]

    def run(self):
        while not self.ended.is_set():
            try:
                if self.answered % 5 == 0:
                    # Without options that differ, channels would share one connection.
                    with grpc.insecure_channel(self.address, options=[("vexact.test", self.answered)]) as channel:
                        got = self.ask(channel)
                else:
                    got = self.ask(self.channel)
            except grpc.RpcError as error:
                self.wrong = str(error)
                return
            if got != self.expected:
                self.wrong = f"{got} instead of {self.expected}"
                return
            self.answered += 1

    def stop(self):
        self.ended.set()
        self.join()
        self.channel.close()


class HostileTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        with grpc.insecure_channel(f"127.0.0.1:{self.server.port}") as channel:
            COLLECTION_STUBS.CollectionsStub(channel).CreateCollection(
                COLLECTIONS.CreateCollectionRequest(name="docs", dimension=3, metric=TYPES.METRIC_L2))
            rows = [POINTS.Point(id=TYPES.Id(number=i), vector=vector(i, -i, i * i)) for i in range(100)]
            POINT_STUBS.PointsStub(channel).Upsert(POINTS.UpsertRequest(collection="docs", points=rows))
        self.friend = Friend(self.server.port)
        self.friend.start()
        self.connections = []

    def tearDown(self):
        self.close()
        self.await_answers()
        self.friend.stop()
        self.server.stop()
        self.assertIsNone(self.friend.wrong)
        self.assertEqual(self.server.process.returncode, 0)

    def close(self):
        for connection in self.connections:
            connection.close()
        self.connections = []

    def open(self, data=b""):
        connection = self.server.connect()
        self.connections.append(connection)
        self.send(connection, data)
        return connection

    @staticmethod
    def send(connection, data):
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has had enough

    def await_answers(self, more=20):
        """The friend gets so many more, while everything is as it is now."""
        until = self.friend.answered + more
        for _ in range(PATIENCE * 100):
            if self.friend.wrong or self.friend.answered >= until:
                break
            time.sleep(0.01)
        self.assertIsNone(self.friend.wrong)
        self.assertGreaterEqual(self.friend.answered, until)

    def assert_is_closed(self, connection):
        """The server ends the connection, whatever it says before."""
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass

    def test_half_open_connections(self):
        hello = PREFACE + frame(SETTINGS, 0, 0, b"")
        begun = hello + frame(HEADERS, END_HEADERS, 1, call_headers("/vexact.v1.Points/Upsert"))
        for data in (b"", PREFACE[:10], PREFACE, hello, begun, begun + frame(DATA, 0, 1, b"\0\0\0\1\0half")):
            for _ in range(50):
                self.open(data)
        self.await_answers()

    def test_one_byte_at_a_time(self):
        data = PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS, 1,
                                                            call_headers("/vexact.v1.Search/Search"))
        slow = [self.open() for _ in range(50)]
        for at in range(len(data)):
            for connection in slow:
                self.send(connection, data[at:at + 1])
            if at % 10 == 0:
                self.await_answers(1)
        self.await_answers()

    def test_garbage_and_other_protocols(self):
        rng = random.Random(1)
        tls = bytes.fromhex("1603010200010001fc0303") + rng.randbytes(500)
        web = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for data in (tls, web, rng.randbytes(100_000), b"\0" * 100_000, PREFACE + rng.randbytes(100_000)):
            for _ in range(10):
                self.assert_is_closed(self.open(data))
        self.await_answers()

    def test_gigantic_lengths(self):
        hello = PREFACE + frame(SETTINGS, 0, 0, b"")
        begun = hello + frame(HEADERS, END_HEADERS, 1, call_headers("/vexact.v1.Points/Upsert"))
        before = self.server.resident()
        for _ in range(100):
            # A frame, a message and a list of headers, each of which is said to be large.
            self.open(hello + frame(DATA, 0, 1, b"x" * 1000, length=0xFFFFFF))
            self.open(begun + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 1000))
            self.open(begun + frame(DATA, 0, 1, b"\0\x03\xff\xff\xff" + b"x" * 1000))
            self.open(hello + frame(HEADERS, 0, 1, header("x" * 100, "y" * 100) * 70))
        endless = self.open(hello + frame(HEADERS, 0, 1, call_headers("/vexact.v1.Points/Upsert")))
        for _ in range(2000):
            self.send(endless, frame(CONTINUATION, 0, 1, header("x" * 100, "y" * 100) * 50))
        self.await_answers()
        # What was announced would be 100 times 64 MiB and more.
        self.assertLess(self.server.resident() - before, 300 << 20)

    def test_many_idle_connections(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        count = min(10_000, limit // 2 - 200 if limit != resource.RLIM_INFINITY else 10_000)
        few = self.server.descriptors()
        sizes = []
        for _ in range(4):
            for _ in range(count):
                self.open(PREFACE + frame(SETTINGS, 0, 0, b""))
            for connection in self.connections:
                self.assertTrue(connection.recv(9), "the server takes the connection")
            self.assertGreaterEqual(self.server.descriptors(), count)
            self.await_answers()
            sizes.append(self.server.resident())
            self.close()
            for _ in range(PATIENCE * 100):
                if self.server.descriptors() < few + 100:
                    break
                time.sleep(0.01)
            self.assertLess(self.server.descriptors(), few + 100)
        print(f"{count} idle connections: {' '.join(str(size >> 20) for size in sizes)} MiB", flush=True)
        # What one round leaves may differ with the allocator's arenas; what each leaves would add up.
        self.assertLess(sizes[-1], 2 * sizes[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vexactd", required=True)
    parser.add_argument("--protoc", required=True)
    parser.add_argument("--plugin", required=True)
    parser.add_argument("--proto", required=True)
    parser.parse_known_args(namespace=OPTIONS)
    with tempfile.TemporaryDirectory() as folder:
        names = ("types", "collections", "points", "search")
        subprocess.run([OPTIONS.protoc, f"-I{OPTIONS.proto}", f"--python_out={folder}", f"--grpc_python_out={folder}",
                        f"--plugin=protoc-gen-grpc_python={OPTIONS.plugin}",
                        *(f"vexact/v1/{name}.proto" for name in names)], check=True)
        sys.path.insert(0, folder)
        from vexact.v1 import (collections_pb2, collections_pb2_grpc, points_pb2, points_pb2_grpc, search_pb2,
                               search_pb2_grpc, types_pb2)
        globals().update(TYPES=types_pb2, COLLECTIONS=collections_pb2, COLLECTION_STUBS=collections_pb2_grpc,
                         POINTS=points_pb2, POINT_STUBS=points_pb2_grpc, SEARCH=search_pb2,
                         SEARCH_STUBS=search_pb2_grpc)
        unittest.main(argv=sys.argv[:1] + [name for name in sys.argv[1:] if name.startswith("HostileTest")])


if __name__ == "__main__":
    main()
