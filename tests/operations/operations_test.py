"""Runs the commands of docs/operations.md, in their order, as somebody would who follows that page.

    operations_test.py PAGE FOLDER_OF_THE_PROGRAMS

The blocks that begin with ```sh are one script for bash, which ends at the first command that fails. It runs in a home of
its own, with the programs in its PATH and their address in the environment.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

TIME_LIMIT_S = 240
# Each of these tells what to do, so each has commands.
SECTIONS = {"Data directory", "Durability", "Keep strangers out", "Watch it", "Backup and restore", "Verify and repair", "Upgrade",
            "When the disk is full"}


def read_page(path):
    """The commands by section, each line of them with its number on the page."""
    sections, title, in_block = {}, None, False
    with open(path, encoding="utf-8") as page:
        for number, line in enumerate(page, 1):
            heading = re.match(r"## (.*)", line)
            if heading:
                title = heading.group(1)
                sections[title] = []
            elif line.startswith("```"):
                in_block = not in_block and line.strip() == "```sh"
                if in_block:
                    sections[title].append((number, []))
            elif in_block:
                sections[title][-1][1].append(line)
    return sections


def make_script(page, sections):
    script = ["set -euo pipefail\n"]
    for blocks in sections.values():
        for number, lines in blocks:
            script.append(f"echo '--- {os.path.basename(page)}:{number}'\n")
            script += lines
    return "".join(script)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(script, home, programs):
    address = f"127.0.0.1:{free_port()}"
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("VEXACT_") or name == "VEXACT_FORCE_ISA"}
    environment |= {"HOME": home, "PATH": programs + os.pathsep + environment["PATH"],
                    "VEXACT_LISTEN": address, "VEXACT_SERVER": address}
    # A session of its own, so that the servers that are left end with it.
    shell = subprocess.Popen(["bash", "-c", script], cwd=home, env=environment, text=True, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ended = True
    try:
        # The servers hold the pipe open: the shell's end is what counts.
        shell.wait(TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        ended = False
    os.killpg(shell.pid, signal.SIGKILL)
    output, _ = shell.communicate()
    return ended and shell.returncode == 0, output


def main(page, programs):
    sections = read_page(page)
    bare = [title for title in SECTIONS if not sections.get(title)]
    if bare:
        sys.exit(f"{page} has no commands under: {', '.join(sorted(bare))}")
    with tempfile.TemporaryDirectory() as home:
        passed, output = run(make_script(page, sections), home, os.path.abspath(programs))
        print(output)
        if not passed:
            with open(os.path.join(home, "vexactd.log"), encoding="utf-8") as log:
                sys.exit(f"the commands after the last line above failed; the servers' log:\n{log.read()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
