"""What a server under systemd does: sockets that are handed over, and what it tells."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from served import ROOT

from mnistkit.serve.systemd import Notifier, take_sockets

# The shell stands for systemd: the sockets become descriptors 3 and 4 of the process that it turns into.
HAND_OVER = 'exec 3<&"$1" 4<&"$2"; shift 2; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:admin exec "$@"'


class Systemd:
    """Its two ends: the sockets that it listens on, and where it is told how the service gets on."""

    def __init__(self, folder):
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.port, self.admin_port = (link.getsockname()[1] for link in self.sockets)
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(folder / "notify"))
        self.notices.settimeout(60)
        self.folder = folder
        self.process = None

    def start(self, *flags, **variables):
        for link in self.sockets:
            link.set_inheritable(True)
        command = [sys.executable, "-m", "mnistkit.serve", "--device", "cpu", "--access-log", "none", *flags]
        numbers = [link.fileno() for link in self.sockets]
        self.process = subprocess.Popen(
            ["bash", "-c", HAND_OVER, "systemd", *map(str, numbers), *command],
            cwd=self.folder, stderr=subprocess.DEVNULL, pass_fds=numbers,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(self.folder / "notify"), **variables},
        )  # fmt: skip

    def hears(self, what):
        """Wait for a notice that begins so; those before it are given back."""
        before = []
        while not (notice := self.notices.recv(1000).decode()).startswith(what):
            before.append(notice)
            assert before.count("WATCHDOG=1") < 500, f"{what} never came, but {before[:9]}"  # or this waits for ever
        return before

    def ask(self, path="/v2/health/ready", port=None):
        link = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        with contextlib.closing(link):
            link.request("GET", path)
            return link.getresponse().status


@pytest.fixture
def systemd(tmp_path):
    made = Systemd(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()
    for link in (*made.sockets, made.notices):
        link.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_from_its_start_to_the_next_one(systemd, workers):
    systemd.start("--workers", workers, "--grace", "0.2", WATCHDOG_USEC="1000000")
    systemd.hears("READY=1")
    assert systemd.ask() == 200
    assert systemd.ask(port=systemd.admin_port) == 200
    assert systemd.ask("/v2", port=systemd.admin_port) == 404  # health and metrics alone
    systemd.hears("WATCHDOG=1")
    systemd.process.send_signal(signal.SIGHUP)
    systemd.hears("RELOADING=1\nMONOTONIC_USEC=")
    systemd.hears("READY=1")
    systemd.process.send_signal(signal.SIGTERM)
    systemd.hears("STOPPING=1")
    assert systemd.process.wait(60) == 0
    # The socket is systemd's and listens on: who comes now waits for the next service.
    waiting = socket.create_connection(("127.0.0.1", systemd.port), timeout=60)
    with waiting:
        waiting.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        systemd.start("--grace", "0")
        assert waiting.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_hung_service_says_nothing(systemd):
    systemd.start(WATCHDOG_USEC="400000")
    systemd.hears("WATCHDOG=1")
    systemd.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    systemd.notices.settimeout(1.5)
    with pytest.raises(TimeoutError):
        systemd.hears("nothing more")


def test_without_its_variables_nothing_is_taken_or_told():
    assert take_sockets({}) == {}
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}
    assert take_sockets(environment) == environment == {}  # another process' sockets
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    assert not notifier
    assert notifier.watchdog is None
    notifier.ready()
    assert Notifier({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watchdog is None
    Notifier({"NOTIFY_SOCKET": "/nowhere"}).ready()  # whoever listened there has gone


@pytest.mark.parametrize(
    ("code", "count", "message"),
    [
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", 1, "expected sockets that listen"),
        ("socket.socketpair()[0]", 1, "expected sockets that listen"),
        ("open('/dev/null')", 1, "expected a socket, got another descriptor"),
        ("socket.create_server(('127.0.0.1', 0))", 2, "expected one socket"),
    ],
)
def test_other_descriptors_are_refused(code, count, message):
    script = (
        f"import os, socket; from mnistkit.serve.systemd import take_sockets; given = {code};"
        "os.dup2(given.fileno(), 4); os.dup2(given.fileno(), 3);"
        f"take_sockets({{'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '{count}'}})"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"InputError: LISTEN_FDS: {message}" in ended.stderr
