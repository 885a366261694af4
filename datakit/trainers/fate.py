"""What becomes of a picture's size on its way into a trainer."""

from __future__ import annotations

from dataclasses import dataclass

from datakit.geometry import Size


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a picture: its size after the resize, its size after the crop; or why it is dropped."""

    resized: Size
    cropped: Size
    dropped: str = ""

    def keeps(self, size: Size) -> bool:
        """Tell whether a picture of this size is trained pixel by pixel as it is."""
        return not self.dropped and self.resized == self.cropped == size

    def describe(self, size: Size) -> str:
        """Say what is done to a picture of this size."""
        if self.dropped:
            return f"dropped as {self.dropped}"
        steps = []
        if self.resized != size:
            steps.append(f"resized to {self.resized}")
        if self.cropped != self.resized:
            steps.append(f"cropped to {self.cropped}")
        return " and ".join(steps) or "kept as it is"
