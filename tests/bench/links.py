"""Time and disk of 5 linked copies of 500 pictures of 1.5 MB, against copying them: python -m tests.bench.links [FOLDER].

Run it on a disk where little was deleted in the last minutes: ext4 passes over each inode freed lately when it makes a
new file (fs/ext4/ialloc.c, recently_deleted), which costs a new caption up to ten times what it costs otherwise.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from datakit import CropOptions, crop_folder
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions

PICTURES, REPEATS, SIZE, ROUNDS = 500, 5, 1_500_000, 3  # unless the command line says otherwise
CAPTION = "woman in a red coat, smiling, short brown hair, white helmet, wet street, neon sign, night, reflections, grey sky"
# What the copies may cost, as a share of what copying costs.
ALLOWED = 1 / 20


def main() -> int:
    """Print what each way cost and its share of copying; return 1 where linking's share is above the one allowed.

    The last row is the file system's own: the same links and caption files with nothing decided, hashed or recorded.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="on the disk that is measured")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--allowed", type=float, default=ALLOWED, help="share of what copying costs")
    options = parser.parse_args()
    ways = {"shutil.copy2": _copy, "shuffle": _shuffle, "bare links": _bare_links}
    costs: dict[str, list[tuple[float, float, int]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        dataset = _dataset(root, options.pictures)
        for each in range(options.rounds):
            for way, make in ways.items():
                costs[way].append(_cost(partial(make, dataset, root / f"{way}-{each}"), root / f"{way}-{each}", dataset))
            shutil.rmtree(root / f"shutil.copy2-{each}")
    medians = {way: [median(column) for column in zip(*rows, strict=True)] for way, rows in costs.items()}
    print(f"{'':14}{'returned':>12}{'on disk':>12}{'size':>12}")
    for way, (returned, written, size) in medians.items():
        print(f"{way:14}{returned:10.2f} s{written:10.2f} s{size / 1e6:9.1f} MB")
        if way != "shutil.copy2":
            shares = [
                f"1/{theirs / max(ours, 1e-9):.1f}" for ours, theirs in zip(medians[way], medians["shutil.copy2"], strict=True)
            ]
            print(f"{'':14}" + "".join(f"{share:>12}" for share in shares))
    return int(
        any(ours > options.allowed * theirs for ours, theirs in zip(medians["shuffle"], medians["shutil.copy2"], strict=True))
    )


def _dataset(root: Path, pictures: int) -> Path:
    """Make pictures that crop takes over as they are, each with bytes of its own, and crop them."""
    noise = np.random.default_rng(1).integers(0, 256, (1024, 1024, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=75)
    picture = buffer.getvalue()
    source = root / "source"
    source.mkdir()
    for number in range(pictures):
        # Decoders stop at the end marker; what follows makes up the size and tells the files apart.
        (source / f"{number:04}.jpg").write_bytes(picture + f"{number:08}".encode() * ((SIZE - len(picture)) // 8))
        (source / f"{number:04}.txt").write_text(CAPTION)
    crop_folder(source, root / "dataset", CropOptions(detector="none", saliency="none"))
    return root / "dataset"


def _copy(dataset: Path, target: Path) -> None:
    """Do what the original recipe's script did, less the shuffling."""
    target.mkdir()
    for picture in sorted(dataset.glob("*.jpg")):
        for copy in range(1, REPEATS + 1):
            shutil.copy2(picture, target / f"{picture.stem}_{copy}.jpg")
            shutil.copy2(picture.with_suffix(".txt"), target / f"{picture.stem}_{copy}.txt")


def _shuffle(dataset: Path, target: Path) -> None:
    report = shuffle_folder(dataset, target, ShuffleOptions(repeats=REPEATS, keep=2))
    assert report.done == REPEATS * len(list(dataset.glob("*.jpg"))), report


def _bare_links(dataset: Path, target: Path) -> None:
    target.mkdir()
    for picture in sorted(dataset.glob("*.jpg")):
        for copy in range(1, REPEATS + 1):
            os.link(picture, f"{target}/{picture.stem}_{copy}.jpg")
            caption = os.open(f"{target}/{picture.stem}_{copy}.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(caption, CAPTION.encode())
            os.close(caption)


def _cost(work: Callable[[], None], target: Path, source: Path) -> tuple[float, float, int]:
    """Return the seconds until it returned and until all was on disk, and the size of the files that are no links."""
    os.sync()
    start = time.perf_counter()
    work()
    returned = time.perf_counter() - start
    os.sync()
    written = time.perf_counter() - start
    linked = {path.stat().st_ino for path in source.iterdir()}
    files = {status.st_ino: status.st_blocks * 512 for status in (path.stat() for path in target.rglob("*") if path.is_file())}
    return returned, written, sum(size for inode, size in files.items() if inode not in linked)


if __name__ == "__main__":
    sys.exit(main())
