"""What auditing captions costs in time and memory, on made ones: python -m tests.bench.captions --captions 20000 100000.

A third each are lists of tags, descriptions, and both, about pictures with faces; one in a hundred is nearly that of
another picture. The audit is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from datakit.dataset.manifest import MANIFEST, Face, Record, to_line
from datakit.geometry import Area, Box, Size
from tests.bench.measure import run, table

_FOLDER_SIZE = 1000
# The words of captions are as common as their rank is low (Zipf); of so many words the rare ones come a few times.
_WORDS = 30_000
_SYLLABLES = [f"{consonant}{vowel}" for consonant in "bdfgklmnprst" for vowel in "aeiou"]
_FACES = tuple(Face(Area(300 + 40 * n, 200, 500 + 40 * n, 420), 0.9) for n in range(2))


class Words:
    """Draws words, and captions of them in three styles."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        spelt = {"".join(self._chance.choices(_SYLLABLES, k=self._chance.randint(1, 4))): None for _ in range(2 * _WORDS)}
        self._words = list(spelt)[:_WORDS]
        total, self._until = 0.0, []
        for rank in range(1, len(self._words) + 1):
            total += 1 / rank
            self._until.append(total)

    def some(self, number: int) -> list[str]:
        return self._chance.choices(self._words, cum_weights=self._until, k=number)

    def tags(self) -> str:
        return ", ".join(" ".join(self.some(self._chance.randint(1, 3))) for _ in range(self._chance.randint(10, 30)))

    def sentences(self) -> str:
        said = []
        for _ in range(self._chance.randint(2, 5)):
            one, other = self.some(5), self.some(6)
            said.append(f"The {' '.join(one)} is in the {' '.join(other[:3])}, with {' '.join(other[3:])}.")
        return " ".join(said)

    def caption(self, number: int) -> str:
        kind = number % 3
        said = self.tags() if kind == 0 else self.sentences() if kind == 1 else f"{self.tags()}. {self.sentences()}"
        return f"ohwx woman, {said}"


def make(folder: Path, captions: int) -> None:
    """Write a dataset of so many captions, as crop leaves it, but for its pictures."""
    words = Words(16)
    folder.mkdir()
    before = ""
    with (folder / MANIFEST).open("wb") as manifest:
        for number in range(captions):
            stem = f"{number // _FOLDER_SIZE:04}/{number:07}"
            if number % _FOLDER_SIZE == 0:
                (folder / stem).parent.mkdir()
            before = f"{before}, {words.some(1)[0]}" if number % 100 == 99 else words.caption(number)
            (folder / f"{stem}.txt").write_text(before)
            record = Record(
                output=f"{stem}.jpg",
                caption=f"{stem}.txt",
                captions=1,
                bucket=Size(1024, 1024),
                source=f"{stem}.jpg",
                box=Box(0, 0, 1024, 1024),
                faces=_FACES[: number % 3],
                source_sha256="0" * 64,
                output_sha256="0" * 64,
                caption_sha256="0" * 64,
                key="0",
                version="0",
            )
            manifest.write(to_line(record))


def main() -> None:
    """Audit datasets of each size, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", nargs="+", type=int, default=[20_000, 100_000], metavar="NUMBER")
    parser.add_argument("--dataset", type=Path, help="only make one of the first size there")
    options = parser.parse_args()
    if options.dataset:
        make(options.dataset, options.captions[0])
        return
    rows = []
    for captions in options.captions:
        with tempfile.TemporaryDirectory() as name:
            dataset = Path(name) / "dataset"
            make(dataset, captions)
            command = [sys.executable, "-m", "datakit", "captions", "audit", str(dataset)]
            for trigger in ((), ("--trigger", "ohwx woman", "--class", "woman")):
                cost = run([[*command, *trigger]])
                rows.append(
                    (f"{captions}", " ".join(trigger) or "-", f"{cost.cpu:.1f}", f"{cost.wall:.1f}", f"{cost.memory:.0f}")
                )
    print(table(("captions", "options", "s CPU", "s wall", "MB"), rows))


if __name__ == "__main__":
    main()
