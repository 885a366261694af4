"""Stage 3: what a trainer reads, what is written for it, and the proof; a folder a trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from datakit.libraries import imported

if TYPE_CHECKING:
    from datakit.trainers.protocol import Trainer

# Import paths of what satisfies `datakit.trainers.protocol.Trainer`, so that only the trainer asked for is imported.
TRAINERS: Mapping[str, str] = {
    "simpletuner": "datakit.trainers.simpletuner.trainer:TRAINER",
    "kohya": "datakit.trainers.kohya.trainer:TRAINER",
    "musubi": "datakit.trainers.musubi.trainer:TRAINER",
    "onetrainer": "datakit.trainers.onetrainer.trainer:TRAINER",
    "ai-toolkit": "datakit.trainers.aitoolkit.trainer:TRAINER",
    "diffusion-pipe": "datakit.trainers.diffusionpipe.trainer:TRAINER",
    "diffusers": "datakit.trainers.diffusers.trainer:TRAINER",
}
# Who trains where nobody is named.
DEFAULT = "simpletuner"


def trainer(name: str) -> Trainer:
    """Return the trainer of this name.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    found: Trainer = imported(TRAINERS, "trainer", name)
    return found
