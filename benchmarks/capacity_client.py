"""The client of capacity.py, in a process of its own: one request over and over, at a fixed concurrency or by a clock.

    python capacity_client.py PORT REQUEST --concurrency 8 --seconds 4
    python capacity_client.py PORT REQUEST --rate 2000 --seed 1 --seconds 4

Prints JSON: seconds of each answer, and when it came. By a clock they count from the moment a request was due, so that
a server which falls behind is seen to. `select` wakes to the microsecond where event loops count milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

LINKS = 400
"""Connections at most; what is due beyond them waits in the client, and its waiting counts."""


class Link:
    """A connection and the answer that it waits for."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.data = b""

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        """Ask."""
        self.due, self.data = due, b""
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Whether the answer is whole now."""
        found = self.socket.recv(65536)
        self.data += found
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not found or (end and not head.startswith(b"HTTP/1.1 200")):
            raise SystemExit(f"no answer: {self.data.decode(errors='replace')}")
        return bool(end) and len(body) >= int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def closed(port: int, request: bytes, concurrency: int, seconds: float) -> dict[str, object]:
    """As many requests under way as asked for, always."""
    links = [Link(port) for _ in range(concurrency)]
    start = time.perf_counter()
    for link in links:
        link.send(request, time.perf_counter())
    waits, done = [], []
    while (now := time.perf_counter()) < start + seconds:
        for link in select.select(links, [], [], 1)[0]:
            if link.receive():
                now = time.perf_counter()
                waits.append(now - link.due)
                done.append(now - start)
                link.send(request, now)
    return {"seconds": now - start, "waits": waits, "done": done, "bytes": len(links[0].data)}


def opened(port: int, request: bytes, rate: float, seconds: float, seed: int) -> dict[str, object]:
    """Requests at random moments (a Poisson process), whatever the server does."""
    draw = random.Random(seed)  # noqa: S311  # arrivals, not secrets
    free, busy, late = [Link(port) for _ in range(LINKS // 4)], set(), deque()
    waits: list[float] = []
    done: list[float] = []
    start = time.perf_counter()
    due = start + draw.expovariate(rate)
    while due < start + seconds or busy or late:
        now = time.perf_counter()
        while due <= now and due < start + seconds:
            late.append(due)
            due += draw.expovariate(rate)
        while late and (free or len(busy) < LINKS):
            link = free.pop() if free else Link(port)
            busy.add(link)
            link.send(request, late.popleft())
        pause = max(0.0, due - time.perf_counter()) if due < start + seconds else 1.0
        for link in select.select(busy, [], [], pause)[0]:
            if link.receive():
                now = time.perf_counter()
                waits.append(now - link.due)
                done.append(now - start)
                busy.discard(link)
                free.append(link)
    return {"seconds": seconds, "waits": waits, "done": done, "bytes": len(free[-1].data)}


def main() -> int:
    """Drive, and print."""
    parser = argparse.ArgumentParser(description="Drive a server.")
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--processor", type=int, help="run on this one alone")
    options = parser.parse_args()
    if options.processor is not None:
        os.sched_setaffinity(0, {options.processor})
    request = options.request.read_bytes()
    if options.concurrency:
        found = closed(options.port, request, options.concurrency, options.seconds)
    else:
        found = opened(options.port, request, options.rate, options.seconds, options.seed)
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
