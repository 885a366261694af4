"""What befalls a dataset behind a trainer's back; each takes a folder with p00.jpg and p00.txt."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import BUCKETS
from tests.trainers.conftest import draw


def mark_caption(folder: Path) -> None:
    (folder / "p00.txt").write_bytes(b"\xef\xbb\xbf" + (folder / "p00.txt").read_bytes())


def share_a_stem(folder: Path) -> None:
    draw(folder / "p00.png", BUCKETS[0], 9)


def hide_a_file(folder: Path) -> None:
    draw(folder / ".p09.png", BUCKETS[0], 9)


def write_in_upper_case(folder: Path) -> None:
    (folder / "p00.jpg").rename(folder / "p00.JPG")


def empty_caption(folder: Path) -> None:
    (folder / "p00.txt").write_bytes(b"")


def leave_caption_out(folder: Path) -> None:
    (folder / "p00.txt").unlink()
