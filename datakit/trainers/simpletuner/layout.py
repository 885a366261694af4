"""Where SimpleTuner's launcher looks for the files of a training, below the folder that it is started in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one training; with a name, several lie side by side and ``config.env`` chooses one.

    Attributes
    ----------
    root
        Absolute path of the folder that the launcher is started in.
    name
        Of the training, and of its folder in ``config/``.
    """

    root: Path
    name: str | None = None

    @property
    def launcher(self) -> Path:
        """``config.env``, which is read first."""
        return self.root / "config" / "config.env"

    @property
    def folder(self) -> Path:
        """Where the training's own files lie."""
        return self.root / "config" / (self.name or "")

    @property
    def config(self) -> Path:
        """``config.json``, the trainer's options."""
        return self.folder / "config.json"

    @property
    def backend(self) -> Path:
        """``multidatabackend.json``, the datasets."""
        return self.folder / "multidatabackend.json"

    @property
    def accelerate(self) -> Path:
        """What `accelerate launch` is told."""
        return self.folder / "accelerate.yaml"

    @property
    def output(self) -> Path:
        """Folder for the checkpoints."""
        return self.root / "output" / (self.name or "")
