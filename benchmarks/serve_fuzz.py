"""Fuzz a running server's infer endpoint with malformed and mutated requests.

    python benchmarks/serve_fuzz.py PORT [COUNT]

Prints how many requests got which status, and every one that was answered with a 5xx, not answered, or answered with
something that is not one of the protocol's error objects.
"""

from __future__ import annotations

import copy
import http.client
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

PATH = "/v2/models/mnist/infer"
LENGTH = "Inference-Header-Content-Length"
ODD: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 1e308, -0.0, 0.5, "", "FP32", "image", "\u0000", "x" * 300, [], {},
    [[]], [1, [2]], [None], {"a": 1}, [1e39], ["1"], [[0] * 784], [2**63], [-1], [0], [1, 784], [784], [28, 28],
]  # fmt: skip


@dataclass
class Found:
    """What a fuzz found."""

    statuses: Counter[int] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)


def fuzz(port: int, *, count: int, seed: int) -> Found:
    """Send ``count`` requests to 127.0.0.1."""
    source = random.Random(seed)  # noqa: S311 - not for secrets
    found = Found()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(count):
        body, headers = _request(source)
        try:
            link.request("POST", PATH, body, headers)
            response = link.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            found.bad.append(f"{error!r} for {headers} {body[:200]!r}")
            link.close()
            continue
        found.statuses[response.status] += 1
        if response.status >= 500 or (response.status != 200 and not _is_error(content)):
            found.bad.append(f"{response.status} {content[:200]!r} for {headers} {body[:200]!r}")
    link.close()
    return found


def _is_error(content: bytes) -> bool:
    try:
        document = json.loads(content)
    except ValueError:
        return False
    return set(document) == {"error"} and "Traceback" not in document["error"]


def _good(source: random.Random) -> dict[str, Any]:
    rows = source.choice((1, 1, 1, 2, 3))
    return {
        "id": "a",
        "inputs": [{"name": "image", "shape": [rows, 784], "datatype": "FP32",
                    "data": [round(source.random(), 2) for _ in range(rows * 784)]}],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": source.random() < 0.5}}],
        "parameters": {"binary_data_output": False},
    }  # fmt: skip


def _request(source: random.Random) -> tuple[bytes, dict[str, str]]:
    document = _good(source)
    headers: dict[str, str] = {}
    tail = b""
    if source.random() < 0.5:
        entry = document["inputs"][0]
        del entry["data"]
        tail = source.randbytes(entry["shape"][0] * 3136) if source.random() < 0.5 else bytes(entry["shape"][0] * 3136)
        entry["parameters"] = {"binary_data_size": len(tail)}
        headers[LENGTH] = ""
    for _ in range(source.choice((0, 1, 1, 2, 5))):
        _change(document, source)
    head = json.dumps(document).encode()
    if headers:
        headers[LENGTH] = str(len(head))
    body = head + tail
    for _ in range(source.choice((0, 0, 0, 1, 4))):
        body, headers = _damage(body, headers, source)
    return body, headers


def _change(document: Any, source: random.Random) -> None:
    """Replace, drop, repeat or add something somewhere in the document."""
    node = document
    for _ in range(source.randrange(5)):
        children = [child for child in (node.values() if isinstance(node, dict) else node)
                    if isinstance(child, dict | list) and child]  # fmt: skip
        if not children:
            break
        node = source.choice(children)
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return
    key, action = source.choice(keys), source.randrange(4)
    if action == 0:
        del node[key]
    elif action == 1 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    elif action == 2 and isinstance(node, dict):
        node[source.choice(("parameters", "shape", "data", "binary_data_size", "name"))] = copy.deepcopy(
            source.choice(ODD)
        )
    else:
        node[key] = copy.deepcopy(source.choice(ODD))


def _damage(body: bytes, headers: dict[str, str], source: random.Random) -> tuple[bytes, dict[str, str]]:
    """Damage the bytes or the headers."""
    action = source.randrange(7)
    place = source.randrange(len(body) + 1)
    if action == 0:
        return body[:place], headers
    if action == 1:
        return body[:place] + source.randbytes(source.randrange(1, 20)) + body[place:], headers
    if action == 2 and place < len(body):
        return body[:place] + bytes([body[place] ^ 1 << source.randrange(8)]) + body[place + 1 :], headers
    if action == 3:
        value = source.choice(("0", "-1", "1", "x", "", "999999999", "1e3", str(len(body)), str(place), "0x10", "٣"))
        return body, {**headers, LENGTH: value.encode().decode("latin-1")}
    if action == 4:
        return b"[" * source.choice((10, 1000, 20000)) + body, headers
    if action == 5:
        return body, {**headers, "Content-Encoding": source.choice(("gzip", "identity", "br"))}
    return body, {**headers, "Content-Type": source.choice(("text/plain", "application/json", "", "\xff"))}


def main() -> int:
    """Fuzz the port on the command line."""
    port, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    found = fuzz(port, count=count, seed=1)
    print(f"{count} requests: {dict(sorted(found.statuses.items()))}; bad: {len(found.bad)}")
    for line in found.bad[:20]:
        print(line)
    return int(bool(found.bad))


if __name__ == "__main__":
    sys.exit(main())
