"""A Ray of the tests' own, on the loopback address, and the processes that belong to it."""

import os
import secrets
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import mnistkit

_BEGIN = """
import sys, ray
context = ray.init("local", num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""
LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 is its address
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32),  # one for all of this process
}


@contextmanager
def ray_of_two():
    """Yield the process that keeps it, and its address."""
    roots = (str(Path(mnistkit.__file__).parents[1]), str(Path(__file__).parent))  # functions of tests go to workers
    path = os.pathsep.join(part for part in (*roots, os.environ.get("PYTHONPATH")) if part)
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **LOCAL, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("127.0.0.1:"), "Ray did not start"
        yield process.pid, address
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def below(pid):
    """Processes that a process began, and those that they began: their numbers and command lines."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {one: lines.get(one, "") for one in found - {pid}}


def workers_below(pid):
    """The processes of Ray Data that read."""
    return [one for one, line in below(pid).items() if "MapWorker" in line]
