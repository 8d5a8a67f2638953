"""The processes that tests/crash/run starts: vexactd, and crash_worker, which writes to it."""

import collections
import os
import re
import subprocess
import threading
import time

POLL = 0.001  # seconds
# Deadlines count polls, not time: a machine that stands still for a while decides nothing.
PATIENCE_SECONDS = 600
READY = re.compile(r" ready .*\blisten=(\S+)")


class Defect(Exception):
    """The server is wrong."""


class Broken(Exception):
    """The harness cannot work."""


def wait_until(condition, seconds):
    """Polls for about so long; what the condition gave last."""
    for _ in range(int(seconds / POLL)):
        result = condition()
        if result:
            return result
        time.sleep(POLL)
    return condition()


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


class Server:
    """One vexactd, from its exec on."""

    def __init__(self, options, data, log):
        self.log_path = log
        # A developer's own settings must not decide the test.
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("VEXACT_") or name == "VEXACT_FORCE_ISA"}
        place = ["--in-memory"] if options.lie == "in-memory" else ["--data-dir", data]
        with open(log, "wb") as stderr:
            # setpriv becomes vexactd, which then ends with the harness, however that ends.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", os.path.join(options.bin, "vexactd"),
                 "--listen", "127.0.0.1:0", *place],
                stdout=subprocess.DEVNULL, stderr=stderr, env=environment)

    def log(self):
        return read(self.log_path)

    def is_ready(self):
        return READY.search(self.log()) is not None

    def wait_ready(self):
        """Its address; a server that ends before it is ready, or never is, is a defect."""
        wait_until(lambda: self.is_ready() or self.process.poll() is not None, PATIENCE_SECONDS)
        found = READY.search(self.log())
        if found:
            return found.group(1)
        status = self.process.poll()
        raise Defect(f"the server {'is not ready in time' if status is None else f'ended with status {status}'}:\n"
                     + self.log()[-3000:])

    def kill(self):
        if self.process.poll() is not None:
            raise Defect(f"the server ended by itself, with status {self.process.returncode}:\n{self.log()[-3000:]}")
        self.process.kill()
        self.process.wait()

    def discard(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Worker:
    """One run of writes; what it says is kept by words."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.words = collections.Counter()
        self.errors = ""
        self.readers = [threading.Thread(target=self.read_words), threading.Thread(target=self.read_errors)]
        for reader in self.readers:
            reader.start()

    def read_words(self):
        for line in self.process.stdout:
            self.words[line.strip()] += 1

    def read_errors(self):
        self.errors = self.process.stderr.read()

    def said(self, word):
        return self.words[word] > 0

    def has_ended(self):
        return self.process.poll() is not None

    def finish(self):
        """Waits for its end, which comes with the server's or with that of its writes."""
        if not wait_until(self.has_ended, PATIENCE_SECONDS):
            self.discard()
            raise Defect("a request hangs, and the server is gone")
        for reader in self.readers:
            reader.join()
        if self.process.returncode == 1:
            raise Defect(self.errors)
        if self.process.returncode != 0:
            raise Broken(f"crash_worker write: status {self.process.returncode}: {self.errors}")

    def discard(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
