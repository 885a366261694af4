"""What `datakit crop --fill-batches` would do for datasets as they are, told from their records alone."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.dataset.batches import LARGEST_BATCH, USUAL_LOSS, fill, line_of, neighbours, tally
from datakit.dataset.manifest import Record
from datakit.dataset.origin import read_origin, source_folders
from datakit.dataset.remembered import last_report
from datakit.geometry import Size
from datakit.report import counted
from datakit.sizes import DEFAULT_SIZES, area_kept, enlargement, largest_window, size_set
from datakit.trainers.training import Batching

# Room for a head around a face: sides, up and down, as shares of its width and height; as in `datakit.crop.framing`.
_HEAD = (0.1, 0.2, 0.1)


def advice(concepts: Sequence[Concept], batching: Batching) -> list[str]:
    """Return a sentence for each dataset whose pictures would fill batches better if some took a neighbour size.

    Faces must fit into the other window, at its best place; what stands out beside them, only crop can weigh.
    """
    return [said for concept in concepts for said in _advice(concept, batching)]


def _advice(concept: Concept, batching: Batching) -> Iterable[str]:
    originals = {record.output: record for record in concept.originals}
    if any(map(_is_closer, originals.values())):
        return  # crop fills batches of the largest windows alone
    copies = max((record.copy or 1) for record in concept.records)
    # So many pictures, each with its copies and passes, are whole batches.
    batch = batching.effective // math.gcd(batching.effective, concept.passes * copies)
    free = {name: record for name, record in originals.items() if _is_free(record)}
    if not (free and 2 <= batch <= LARGEST_BATCH):
        return
    fixed = Counter(record.bucket for name, record in originals.items() if name not in free)
    made = _made_from(concept.folder)
    homes = {name: Size(*record.bucket) for name, record in free.items()}
    known = {size for name in {record.sizes for record in free.values()} for size in size_set(name)}
    line = line_of(known & _used(made) | set(homes.values()) if made else known)
    losses = {
        (name, size): loss
        for name, record in free.items()
        for size in neighbours(line, homes[name])
        if (loss := _loss(record, size)) <= USUAL_LOSS
    }
    moves = fill(line, homes, losses, batch, fixed)
    before = tally((Counter(homes.values()) + fixed).values(), batch)
    after = tally((Counter({**homes, **moves}.values()) + fixed).values(), batch)
    if (after.short, after.left) < (before.short, before.left):
        lost = sum(losses[move] for move in moves.items()) / len(originals)
        yield (
            f"{concept.name}: crop again with --fill-batches {batch}: {counted(len(moves), 'picture')} of {len(originals)} would take a "
            f"neighbour size ({lost:.2%} of the area lost, mean of all); sizes short of a batch {before.short} -> {after.short}, pictures in "
            f"no whole batch {before.left} -> {after.left}{_command(made, batch)}"
        )


def _made_from(folder: Path) -> tuple[Path, ...]:
    """Return the folders from a dataset back to the source that it, or what it has copies of, was cropped from; none where unknown."""
    chain = (folder, *source_folders(folder))
    origin = read_origin(chain[-2]) if len(chain) > 1 else None
    return chain if origin and origin.stage == "crop" else ()


def _used(made: Sequence[Path]) -> set[Size]:
    """Return the sizes that the crop of a dataset was allowed: all of its set where it was not kept to some."""
    last = last_report(made[-2])
    options = last.options if last else {}
    return {Size(*size) for size in options.get("buckets") or size_set(options.get("sizes", DEFAULT_SIZES))}


def _command(made: Sequence[Path], batch: int) -> str:
    """Return the command that makes a dataset so, and whether its copies are to be made again too."""
    if not made:
        return ""
    again = ", then datakit shuffle again" if len(made) > 2 else ""
    command = shlex.join(["datakit", "crop", str(made[-1]), str(made[-2]), "--fill-batches", str(batch)])
    return f"\n  {command}   (with the options of before{again})"


def _is_closer(record: Record) -> bool:
    """Tell whether a record is one of several crops of a picture, or of a framing that zooms."""
    if record.source_size is None or record.box is None or not _is_free(record):
        return False
    return record.crop is not None or record.box.size != largest_window(Size(*record.source_size), Size(*record.bucket))


def _is_free(record: Record) -> bool:
    """Tell whether crop chose the size."""
    if record.source_size is None or min(record.source_size) < 1 or record.box is None:
        return False
    return not record.window_decided and record.anchor != "manual" and record.bucket in size_set(record.sizes)


def _loss(record: Record, size: Size) -> float:
    """Return the share of a picture's area that another size loses; more than all of it where it cannot take that."""
    picture = Size(*record.source_size or record.bucket)
    window = largest_window(picture, size)
    limit = max(1.0, record.scale or 1.0)
    if enlargement(window, size) > limit or not _fit(record, picture, window):
        return math.inf
    return max(0.0, area_kept(picture, record.bucket) - area_kept(picture, size))


def _fit(record: Record, picture: Size, window: Size) -> bool:
    """Tell whether a window holds all faces of a picture at once, wherever it lies."""
    boxes = [face.box.grown(*_HEAD).clipped(picture) for face in record.faces]
    if not boxes:
        return True
    across = max(box.right for box in boxes) - min(box.left for box in boxes)
    down = max(box.bottom for box in boxes) - min(box.top for box in boxes)
    return across <= window.width and down <= window.height
