"""The unit for systemd: that systemd understands every line of it, and how shut it is.

    service_test.py UNIT VEXACTD

UNIT is the installed form, VEXACTD the program of this build, which stands in for the installed one. Needs systemd-analyze, not
a running systemd.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

UNIT, VEXACTD = pathlib.Path(sys.argv[1]), sys.argv[2]
# systemd's own measure, in tenths, from 0 (shut) to 100 (open); a service without any of its sandbox has 96.
MOST_EXPOSURE = 15


class ServiceUnit(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "vexactd.service"
        text = UNIT.read_text(encoding="utf-8")
        self.assertRegex(text, r"(?m)^ExecStart=/.*/bin/vexactd$")
        self.path.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={VEXACTD}", text), encoding="utf-8")

    def analyze(self, *arguments):
        done = subprocess.run(["systemd-analyze", *arguments, "--no-pager", str(self.path)], capture_output=True,
                              text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_systemd_understands_it(self):
        status, said = self.analyze("verify")
        # Unknown lines are told with the unit's name, and do not change the status.
        complaints = [line for line in said.splitlines() if "vexactd" in line]
        self.assertEqual((status, complaints), (0, []))

    def test_it_is_shut(self):
        status, said = self.analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSURE}")
        self.assertEqual(status, 0, said)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
