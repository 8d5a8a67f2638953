"""vexact top on a terminal: what it draws, how it follows the terminal's size, and how it leaves it.

    top_terminal_test.py VEXACT VEXACTD
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?25h\x1b[?1049l"
PATIENCE_S = 60
VEXACT, VEXACTD = sys.argv[1:3]


class Terminal:
    """`vexact` on a terminal of its own."""

    def __init__(self, rows, columns, *args):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen([VEXACT, *args], stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536)

    def wait_for(self, pattern):
        """The match of the pattern in all that was drawn since the last call."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            match = re.search(pattern, self.seen, re.S)
            if match:
                self.seen = self.seen[match.end():]
                return match
            self.read(1)
        raise AssertionError(f"no {pattern} in {self.seen}")

    def end(self):
        """Its exit status, once it has ended, and all that it still drew."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.1)
        self.read(0)
        return self.process.returncode, self.seen

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class TopOnATerminal(unittest.TestCase):
    def setUp(self):
        environment = {**os.environ, "VEXACT_IN_MEMORY": "true"}
        self.server = subprocess.Popen([VEXACTD, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, env=environment)
        self.addCleanup(self.stop_server)
        ready = self.server.stderr.readline().decode()
        self.address = re.search(r" ready .* listen=(\S+) ", ready).group(1)

    def stop_server(self):
        if self.server.poll() is None:
            self.server.terminate()
        self.server.wait()
        self.server.stderr.close()

    def top(self, rows=24, columns=100):
        terminal = Terminal(rows, columns, "top", "--server", self.address, "--interval", "0.1")
        self.addCleanup(terminal.close)
        terminal.wait_for(re.escape(ENTER))
        return terminal

    def vexact(self, *args):
        subprocess.run([VEXACT, "--server", self.address, *args], check=True, stdout=subprocess.DEVNULL)

    def assert_left_as_it_was(self, terminal, drawn):
        self.assertTrue(drawn.endswith(LEAVE), drawn)
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)

    def test_draws_again_and_again_until_q(self):
        terminal = self.top()
        terminal.wait_for(rb"no collections")
        self.vexact("create", "docs", "--dim", "2")
        terminal.wait_for(rb"\x1b\[H.*calls.*\ndocs +0 +0 ")
        os.write(terminal.master, b"xq")
        status, drawn = terminal.end()
        self.assertEqual(status, 0)
        self.assert_left_as_it_was(terminal, drawn)

    def test_ends_at_ctrl_c(self):
        terminal = self.top()
        terminal.wait_for(rb"no collections")
        os.write(terminal.master, b"\x03")
        status, drawn = terminal.end()
        self.assertEqual(status, 130)
        self.assert_left_as_it_was(terminal, drawn)

    def test_follows_the_size_of_the_terminal(self):
        terminal = self.top()
        terminal.wait_for(rb"vexactd [0-9.]+ at [^\r]*queued")
        terminal.resize(3, 20)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.wait_for(rb"\xe2\x80\xa6\x1b\[K")  # something is cut off
        frame = terminal.wait_for(rb"\x1b\[H(.*?)\x1b\[J").group(1)
        lines = [line.rstrip("\r") for line in frame.decode().replace("\x1b[K", "").split("\n")]
        self.assertEqual(len(lines), 3)
        self.assertLessEqual(max(map(len, lines)), 20, lines)

    def test_stays_when_the_server_goes(self):
        terminal = self.top()
        terminal.wait_for(rb"q to quit")
        self.stop_server()
        terminal.wait_for(rb"the numbers above are of before")
        os.write(terminal.master, b"q")
        self.assertEqual(terminal.end()[0], 0)

    def test_without_a_server_touches_nothing(self):
        terminal = Terminal(24, 100, "top", "--server", "127.0.0.1:1")
        self.addCleanup(terminal.close)
        status, drawn = terminal.end()
        self.assertEqual(status, 3)
        self.assertNotIn(ENTER, drawn)
        self.assertIn(b"cannot reach a Vexact server", drawn)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
