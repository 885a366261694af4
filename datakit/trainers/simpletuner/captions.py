"""How SimpleTuner shuffles captions itself: into how many, and which ones it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datakit.audit.concept import Concept
from datakit.caption.captions import read_caption
from datakit.errors import CaptionError
from datakit.report import counted
from datakit.trainers.simpletuner.entry import CaptionShuffle

# What it splits at, and nowhere else.
_SIGNS = {"comma": ",", "period": ".", "space": " "}


def told(concepts: Sequence[Concept], shuffle: CaptionShuffle) -> Iterator[str]:
    """Say what becomes of the captions of some datasets where the trainer shuffles them."""
    most = shuffle.count + shuffle.include_original
    yield (
        f"caption_shuffle gives up to {most} captions for each line: the line itself and {shuffle.count} orders of it, equal ones once; "
        "one of them is drawn each time"
    )
    for concept in concepts:
        lines = list(_lines(concept))
        fixed = sum(not _shuffled(line, shuffle) for line in lines)
        if fixed:
            behind = f" behind the first {counted(shuffle.position_start, 'part')}" if shuffle.position_start else ""
            yield (
                f"{concept.name}: {fixed} of {len(lines)} captions keep their one order: SimpleTuner splits at each {shuffle.split_on} "
                f"only and finds fewer than two parts to move{behind}; `datakit shuffle` splits at full stops too"
            )


def _lines(concept: Concept) -> Iterator[str]:
    for record in concept.records:
        try:
            yield from read_caption(concept.folder / record.caption).lines if record.caption else ()
        except CaptionError:
            continue  # the audit names it


def _shuffled(line: str, shuffle: CaptionShuffle) -> bool:
    """Tell whether there is anything that can change places."""
    parts = [part for part in line.split(_SIGNS[shuffle.split_on]) if part.strip()]
    return len(parts[shuffle.position_start :]) > 1
