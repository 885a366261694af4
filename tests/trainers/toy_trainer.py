"""The smallest trainer: it takes .png files of one folder, and its dataset file is a line of text for each dataset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from datakit.audit.concept import Concept
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers.leftovers import Leftover
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer
from datakit.trainers.training import Batching, BucketLoad, Epoch
from datakit.trainers.verdict import Fault, Verdict


class Toy:
    title = "Toy"
    file_name = "toy.txt"
    families: Mapping[str, Mapping[str, int]] = {"sd3": {"toy": 4}}
    releases: tuple[str, ...] = ("1.0",)
    published = False
    too_small = "Toy leaves them out"

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        return "picture" if name.endswith(".png") and "/" not in name else ""

    def unseen_by(self, name: str) -> str:
        return "" if self.takes(name) else "Toy"

    def cache_name(self, folder: str, name: str) -> str:
        return name

    def trained(self, concept: Concept, family: str) -> Concept:
        return concept

    def left_behind(self, concept: Concept, ids: Collection[str]) -> list[Leftover]:
        return [Leftover(path, "a toy") for path in sorted(concept.folder.glob("*.toy"))]

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        return []

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        if options.caption_shuffle:
            raise UsageError("Toy shuffles no captions")
        if options.at:
            raise UsageError("Toy reads no object store")
        lines = [f"toy {concept.folder}\n" for concept in concepts]
        return DatasetFile("".join(lines).encode(), tuple(concept.id for concept in concepts), needs=("Toy needs luck",))

    def recognises(self, content: bytes) -> bool:
        return content.startswith(b"toy ")

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path]) -> Verdict:
        verdict = Verdict(notes=[f"replayed {' '.join(releases)}"])
        for line in file.read_text().splitlines():
            folder = Path(line.removeprefix("toy "))
            verdict.pictures[folder.name] = sum(self.takes(path.name) == "picture" for path in folder.iterdir())
            verdict.buckets[folder.name] = {"any": verdict.pictures[folder.name]}
            if not verdict.pictures[folder.name]:
                verdict.faults.append(Fault(folder.name, "", "Toy takes none of its pictures"))
        return verdict

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        loads = [
            BucketLoad(concept.name, size, number, concept.passes, number, number, 0, too_small=number < batching.size)
            for concept in concepts
            for size, number in concept.buckets.items()
        ]
        return Epoch(tuple(loads), planned_steps=len(loads), real_steps=len(loads))


TRAINER: Trainer = Toy()
