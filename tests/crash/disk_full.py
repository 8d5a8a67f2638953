"""tests/crash/run --disk-full: a disk without room, while a server writes to it and is killed."""

import errno
import os
import subprocess
import sys
import time

from processes import PATIENCE_SECONDS, Defect, wait_until


def mount_tmpfs(folder, size):
    os.makedirs(folder)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "vexact-crash", folder],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        print(f"skipped: a small tmpfs cannot be mounted: {mounted.stderr.strip()}")
        sys.exit(77)


def fill(path):
    """Takes all the room there is."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (1 << 20, 1 << 12):
        try:
            while True:
                os.write(file, bytes(size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    os.close(file)


def run_disk_full(harness):
    """No room in the middle of writing, then room again, then no room while it is killed."""
    disk = os.path.join(harness.folder, "disk")
    mount_tmpfs(disk, "160m")
    try:
        harness.data = os.path.join(disk, "data")
        ballast = os.path.join(disk, "ballast")
        harness.start()
        loaded = write_until_full(harness, ballast)
        full = harness.check()
        print(f"full after {loaded} s of writing: {full['acknowledged']} acknowledged writes, all of them there, "
              f"{full['searches']} searches equal", flush=True)
        os.remove(ballast)
        harness.write("brief", "--may-be-full")
        harness.worker.finish()
        resumed = harness.check()
        more = resumed["acknowledged"] - full["acknowledged"]
        if more <= 0:
            raise Defect("there is room again, but no write was acknowledged")
        print(f"room again: {more} more acknowledged without a restart", flush=True)
        write_until_full(harness, ballast)
        harness.worker = None
        harness.kill("full")
        restart_on_full_disk(harness, ballast)
        print(f"killed while full: {harness.check()['acknowledged']} acknowledged writes, 0 lost")
    finally:
        harness.discard()
        subprocess.run(["umount", disk], check=True)


def write_until_full(harness, ballast):
    """Writes until the disk has no room; the worker gives up by itself. How long there was room, in seconds."""
    seconds = round(harness.random.uniform(0.2, 1.0), 2)
    harness.write("mix", "--may-be-full")
    time.sleep(seconds)

    def fill_until_end():
        fill(ballast)  # again and again: the server makes room for itself
        return harness.worker.has_ended()

    wait_until(fill_until_end, PATIENCE_SECONDS)
    harness.worker.finish()
    if not harness.worker.said("full"):
        raise Defect("the disk is full, and no write was refused")
    return seconds


def restart_on_full_disk(harness, ballast):
    """It serves what there is, refuses writes, and takes them when there is room."""
    harness.start()
    harness.write("brief", "--may-be-full")
    harness.worker.finish()
    if not harness.worker.said("full"):
        raise Defect("the disk was full at the start, and no write was refused")
    full = harness.check()
    print(f"started on the full disk: {full['rows']} rows there, {full['searches']} searches equal", flush=True)
    os.remove(ballast)
    harness.write("brief", "--may-be-full")
    harness.worker.finish()
    more = harness.check()["acknowledged"] - full["acknowledged"]
    if more <= 0:
        raise Defect("there is room again after a start on a full disk, but no write was acknowledged")
    print(f"room again: {more} more acknowledged without a restart", flush=True)
    harness.worker = None
    harness.kill("writing")
    harness.start()
