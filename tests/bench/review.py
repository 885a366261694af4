"""What the review of 10,000 samples takes: python -m tests.bench.review --samples 10000."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from PIL import Image

from datakit.dataset.manifest import MANIFEST, Face, Record, to_line
from datakit.dataset.origin import Origin
from datakit.geometry import Area, Box, Size
from tests.bench.measure import table


def make(folder: Path, samples: int) -> Path:
    """Make a dataset of so many samples; their pictures are links to one, their captions are not."""
    source, out = folder / "src", folder / "out"
    for place in (source, out / ".datakit"):
        place.mkdir(parents=True)
    pixels = np.random.default_rng(1).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((4000, 3000)).save(folder / "photo.jpg")
    Image.fromarray(pixels).resize((1152, 896)).save(folder / "crop.jpg")
    sha256 = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("photo.jpg", "crop.jpg")]
    with (out / MANIFEST).open("wb") as manifest:
        for number in range(samples):
            name = f"{number:05}.jpg"
            os.link(folder / "photo.jpg", source / name)
            os.link(folder / "crop.jpg", out / name)
            (out / f"{number:05}.txt").write_text(f"picture {number}, " + "a woman in a red coat, a long road, low sun, " * 4)
            record = Record(
                output=name, bucket=Size(1152, 896), source=name, source_sha256=sha256[0], output_sha256=sha256[1], key="bench",
                version="bench", caption=f"{number:05}.txt", source_size=Size(4000, 3000), box=Box(71, 0, 3928, 3000),
                anchor="face", why="keeps the face whole", faces=(Face(Area(900, 700, 1300, 1200), 0.9, 1 - number % 20 / 40),),
                saliency_kept=0.9, area_kept=0.96, scale=0.3,
            )  # fmt: skip
            manifest.write(to_line(record))
    (out / ".datakit" / "origin.json").write_bytes(msgspec.json.encode(Origin("crop", str(source))))
    return out


def main() -> None:
    """Serve the dataset and print how long each question takes and what memory the server holds after it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    with tempfile.TemporaryDirectory() as folder:
        out = make(Path(folder), parser.parse_args().samples)
        command = [sys.executable, "-m", "datakit", "review", str(out), "--no-open"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            start = time.perf_counter()
            client = httpx.Client(base_url=server.stdout.readline().strip(), timeout=60)
            rows = [("start", f"{time.perf_counter() - start:.3f}", _memory(server.pid))]

            def ask(name: str, question: Callable[[], Any]) -> Any:
                start = time.perf_counter()
                answer = question()
                rows.append((name, f"{time.perf_counter() - start:.3f}", _memory(server.pid)))
                return answer

            told = ask("api/dataset, first", lambda: client.get("api/dataset")).json()
            for _ in range(3):
                ask("api/dataset, again", lambda: client.get("api/dataset"))
            keys = [sample["key"] for sample in told["samples"]]
            ask("100 thumbnails, new", lambda: [client.get(f"api/thumbnail/{key}") for key in keys[:100]])
            ask("100 thumbnails, kept", lambda: [client.get(f"api/thumbnail/{key}") for key in keys[:100]])
            ask("1000 thumbnails, new", lambda: [client.get(f"api/thumbnail/{key}?side=output") for key in keys[:1000]])
            ask("100 changes polled", lambda: [client.get("api/changes?since=0") for _ in range(100)])
            change = {"revision": 0, "decision": {"accepted": True}}
            ask("100 decisions", lambda: [client.put(f"api/decision/{key}", json=change) for key in keys[:100]])
            server.send_signal(signal.SIGINT)
    print(table(("", "s", "MiB resident"), rows))


def _memory(process: int) -> str:
    status = Path(f"/proc/{process}/status").read_text()
    return f"{int(status.split('VmRSS:')[1].split()[0]) / 1024:.0f}"


if __name__ == "__main__":
    main()
