"""How OneTrainer draws from several captions of a picture, and how many of them it ever trains.

Read in mgds 3a6994a (pipelineModules/SelectRandomText.py, DiskCache.py): with latent caching, which is on by default, one is drawn with
replacement for each of ``text_variations`` variations of a picture; epochs go round these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datakit.audit.concept import Concept
from datakit.report import counted


def variations(concept: Concept) -> int:
    """Return how many captions to draw for a picture: where there are several, one for each or for each showing."""
    most = max((record.captions for record in concept.records), default=1)
    return max(most, concept.passes) if most > 1 else 1


def drawn(lines: Sequence[int], variations: int) -> Iterator[str]:
    """Say how many of several captions are ever trained; each picture gets so many draws, which are then gone round."""
    several = [count for count in lines if count > 1]
    if several:
        seen = sum(count * (1 - (1 - 1 / count) ** variations) for count in several)
        yield (
            f"about {seen:.0f} of {sum(several)} captions of pictures with several ({seen / sum(several):.0%}) are ever trained: OneTrainer "
            f"draws one {counted(variations, 'time')} (text_variations), keeps what it drew and goes round it; more text_variations draw "
            "more, and copies written by `datakit shuffle` show all"
        )
