"""What a file says of its pixels that Pillow passes over, and what to give a decoder in the file's place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datakit.geometry import Box, Size
from datakit.picture.colourspaces import ColourSpace
from datakit.report import Warned

if TYPE_CHECKING:
    from PIL import Image


@dataclass(slots=True)
class Header:
    """What was found in a file before any pixel is decoded.

    Attributes
    ----------
    kind
        What Pillow calls the format of the file.
    data
        What decoders are given: the file itself, or what is left without the side data that would stop them.
    notes
        What the user should know.
    icc
        A colour profile that Pillow does not find.
    space
        What its colours mean where no profile says so; None for sRGB.
    coded
        Whether the codes of the file count more than its profile.
    narrow
        Whether black and white lie at 16 and 235 of 255.
    plain
        Whether nothing but Pillow's own findings keeps a trainer's loader from taking the file as it is.
    bits
        The most bits a channel has, where that is known here; 8 or fewer are Pillow's business.
    significant
        Of PNG, how many bits of each channel say something; empty where all do.
    clean
        What is left of the stored picture behind its container's crop.
    mode
        Pillow's name of what the pixels are, where Pillow cannot open it.
    page
        Which of several pages is meant.
    size
        Of the stored picture, where Pillow cannot open it.
    turned
        EXIF orientation, where Pillow cannot open it.
    """

    kind: str
    data: bytes
    notes: list[Warned] = field(default_factory=list)
    icc: bytes | None = None
    space: ColourSpace | None = None
    coded: bool = False
    narrow: bool = False
    plain: bool = True
    bits: int = 8
    significant: tuple[int, ...] = ()
    clean: Box | None = None
    mode: str = "RGB"
    page: int = 0
    size: Size | None = None
    turned: int = 1

    @property
    def by_values(self) -> bool:
        """Whether the stored values are read as they are, since Pillow would cut them to 8 bits or misread them."""
        deep = self.bits > 8 or bool(self.significant) or self.narrow
        if self.size is not None or (self.space is not None and self.space.hdr is not None):
            return True
        return deep and (self.kind == "PNG" or (self.kind == "AVIF" and self.space is not None))

    def mode_of(self, image: Image.Image | None) -> str:
        """Return Pillow's name of what the pixels are."""
        return self.mode if image is None else image.mode

    def note(self, kind: str, sentence: str) -> None:
        """Remember what the user should know."""
        self.notes.append(Warned(kind, sentence))
