"""The tables of faults in docs/operations.md: that each line names tests, and that there are such tests.

    faults_test.py ROOT

ROOT is the repository's.
"""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv[1])
GTEST = re.compile(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", re.MULTILINE)
CTEST = re.compile(r"add_test\(NAME (\w+)\.(\w+|\$\{\w+\})")


def lines_of_faults():
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = page.split("\n## What happens when\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith(("| this |", "| --- |")):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tests_there_are():
    names = set()
    for path in (ROOT / "tests").rglob("*_test.cpp"):
        names.update(GTEST.findall(path.read_text(encoding="utf-8")))
    for path in (ROOT / "tests").rglob("CMakeLists.txt"):
        names.update(CTEST.findall(path.read_text(encoding="utf-8")))
    return names


class Faults(unittest.TestCase):
    def test_every_line_names_tests_that_exist(self):
        there = tests_there_are()
        lines = list(lines_of_faults())
        self.assertGreater(len(lines), 40)
        before = []
        for line in lines:
            with self.subTest(fault=line[0]):
                self.assertEqual(len(line), 5)
                named = re.findall(r"`(\w+)\.(\w+)`", line[4])
                before = before if line[4] == "the same" else named
                self.assertTrue(before, "no test is named")
                for suite, case in named:
                    found = (suite, case) in there or any(s == suite and c.startswith("$") for s, c in there)
                    self.assertTrue(found, f"there is no test {suite}.{case}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
