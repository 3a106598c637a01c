"""The process that reads on a Ray cluster; `mnistkit.digits.bulk.on_ray` starts it, and gets the rows by chunks."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import ray_cluster, ray_process
from mnistkit.core.errors import ClusterError, InputError, one_line
from mnistkit.digits.bulk import places
from mnistkit.digits.bulk.ray_worker import ChunkWorker
from mnistkit.digits.bulk.reader import steps_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECONDS_TO_WAIT = 60  # before it is said that no worker has begun
_RETRIES = 3  # of a chunk whose worker died; a picture that kills each of them must not go on for ever


def main() -> int:
    """Read what the first line of the input says."""
    return ray_process.answer(_read)


def _read(order: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    ray = ray_cluster.connect(order["cluster"]["address"], workers=order["cluster"]["workers"])
    begun = threading.Event()
    try:
        threading.Thread(target=_watch, args=(begun, send), daemon=True).start()
        for message in _messages(ray, order):
            begun.set()
            _check_is_there(message)
            send(message)
            if "failed" in message:
                return
    except ray.exceptions.RayError as error:
        raise _told(error) from error
    finally:
        begun.set()
        ray.shutdown()


def _watch(begun: threading.Event, send: Callable[[dict[str, Any]], None]) -> None:
    if not begun.wait(_SECONDS_TO_WAIT):
        text = "no worker of the Ray cluster has answered for a minute; `ray status` says whether a processor is free"
        send({"warnings": [["RuntimeWarning", text]]})


def _messages(ray: Any, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the workers say of each chunk, in order."""
    import pyarrow as pa
    from ray import data

    context = data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    chunks = list(_chunks(order))
    kind = pa.schema([("start", pa.int64()), ("count", pa.int64()), ("paths", pa.list_(pa.binary()))])
    tables = [pa.Table.from_pylist([chunk], kind) for chunk in chunks]
    workers = order["cluster"]["workers"] or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    free = max(int(ray.available_resources().get("CPU", 1)), 1)
    least = min(workers, free, len(chunks))
    answers = data.from_arrow(tables).map_batches(
        ChunkWorker,
        fn_constructor_args=(_for_workers(order),),
        batch_size=1,
        batch_format="pyarrow",
        compute=data.ActorPoolStrategy(min_size=least, max_size=max(least, min(workers, len(chunks)))),
        num_cpus=1,
        num_gpus=1 if order["job"]["device"].startswith("cuda") else 0,
        ray_remote_args_fn=lambda: {"max_task_retries": _RETRIES},
    )
    for batch in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for text in batch.column("message").to_pylist():
            yield json.loads(text)


def _chunks(order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    source, step = order["job"]["source"], order["at_once"]
    paths = source.get("paths", ())
    count = len(paths) or source.get("count", 0)
    for first in range(order["start"], count, step):
        chunk = [os.fsencode(path) for path in paths[first : first + step]]
        yield {"start": first, "count": min(step, count - first), "paths": chunk}


def _for_workers(order: dict[str, Any]) -> dict[str, Any]:
    """What each worker needs: the model's content, and not the names of all pictures."""
    from mnistkit.core.runtime import Runtime

    model = Runtime(order["job"]["model"], device="cpu").source
    source = {key: value for key, value in order["job"]["source"].items() if key not in {"paths", "stamps"}}
    job = {**order["job"], "source": source, "content": model}
    return {"job": job, "kind": order["kind"], "steps": steps_digest(), "folder": str(Path.cwd())}


def _check_is_there(message: dict[str, Any]) -> None:
    """Raise for a file that is missing where the worker runs, and not here."""
    for path in message.get("absent", ()):
        if not places.is_url(path) and Path(path).exists():
            raise InputError(
                f"{path}: is not on {message['host']}, where a worker reads; put the files on a file system that all "
                "machines of the cluster share, or name them by URL"
            )


def _told(error: Exception) -> ClusterError:
    text = one_line(error, limit=300)
    if "No module named" in str(error):
        cure = "install the same mnistkit, with its extras cpu and ray, on every machine of the cluster"
    else:
        cure = (
            "what was read is kept, and the same command goes on from there; where it ends at the same place, look for "
            "a file that no worker survives, or give each more memory with fewer --workers"
        )
    return ClusterError(f"the workers of the Ray cluster fail ({text}); {cure}")


if __name__ == "__main__":
    sys.exit(main())
