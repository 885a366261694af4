"""What is asked of one picture: which files, what is given instead of being decided, and the words that go with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import msgspec

from datakit.caption.captions import Caption, decode_caption
from datakit.caption.distance import far, fit
from datakit.crop.distance import distance_of
from datakit.crop.options import CropOptions
from datakit.dataset.manifest import CropPlan, Record
from datakit.dataset.samples import Sample, caption_name
from datakit.dataset.targets import Crop
from datakit.errors import CaptionMissingError
from datakit.geometry import Size
from datakit.report import Warned

CAPTION_EMPTY = Warned("caption-empty", "the caption is empty")
CAPTION_MISSING = Warned("caption-missing", "no caption beside it, in a table or in the picture")


@dataclass(frozen=True, slots=True)
class Move:
    """A picture that takes a neighbour size, to fill a batch.

    Attributes
    ----------
    home, to
        The size that keeps most of it, and the one it takes.
    batch
        Pictures in a batch.
    lost
        The share (0 to 1) of its area that this loses.
    """

    home: Size
    to: Size
    batch: int
    lost: float

    @property
    def warning(self) -> Warned:
        """What the user should know of it."""
        return Warned("moved", f"{self.to} instead of {self.home}, to fill batches of {self.batch}: {self.lost:.1%} of it lost")

    def among(self, options: CropOptions) -> CropOptions:
        """Return options that allow only the size it takes."""
        return replace(options, buckets=(self.to,))

    def reason(self, options: CropOptions) -> str:
        """Return why it may be, for a planning key: what is said of it, and the limit that it was held to."""
        return f"{self.warning.sentence}; of the subject {options.fill_subject:g} at most"

    def noted(self, plan: CropPlan) -> CropPlan:
        """Return a plan of the picture that says so."""
        return msgspec.structs.replace(plan, moved_from=self.home, warnings=(*plan.warnings, self.warning))


@dataclass(frozen=True, slots=True)
class Given:
    """What is followed about one picture instead of being decided.

    Attributes
    ----------
    where
        Who gives it; opens messages.
    plan
        The window, where it is given.
    upscale
        The enlargement that is allowed for this picture, whatever the options allow.
    caption, replaces
        The caption, where it is given, and the sha256 of the caption edited by hand that it may replace in the dataset.
    window_decided, caption_decided
        Which decisions of a person these are, as in `datakit.dataset.manifest.Record`.
    move
        The neighbour size that it takes, where it fills a batch.
    """

    where: str = ""
    plan: CropPlan | None = None
    upscale: float | None = None
    caption: str | None = None
    replaces: str | None = None
    window_decided: str | None = None
    caption_decided: str | None = None
    move: Move | None = None

    def narrow(self, options: CropOptions) -> CropOptions:
        """Return the options of a run as they hold for this picture."""
        allowing = options.allowing(self.upscale)
        return self.move.among(allowing) if self.move else allowing

    def words(self, sample: Sample, data: bytes | None, options: CropOptions, agreed: str | None = None) -> Caption:
        """Return the caption that is given, or that of the source's file (None where there is none). Raises as `caption_in_source`."""
        if self.caption is None:
            return caption_in_source(sample, data, options, agreed)
        sha256 = None if data is None else hashlib.sha256(data).hexdigest()
        return Caption(decode_caption(self.caption.encode(), sample.id).lines, sha256)

    def fitted(self, caption: Caption, crop: CropPlan | Record, options: CropOptions) -> Caption:
        """Return a caption of the source as it fits a crop; one that a person decided is theirs."""
        how = options.fits_caption(crop.crop)
        if how == "keep" or crop.box is None or self.caption is not None or not caption.lines:
            return caption
        heights = distance_of(crop.faces, crop.box)
        if heights is None:
            closer = crop.crop is not None
            return replace(caption, warnings=(*caption.warnings, *(far(caption.lines) if closer else ())))
        fitting = fit(caption.lines, heights, trim=how == "trim")
        return replace(caption, lines=fitting.lines, warnings=(*caption.warnings, *fitting.warnings))


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made of one picture.

    Attributes
    ----------
    sample, output, key
        The names of its files, its name in the dataset, and the key of its options.
    given
        What is followed instead of being decided.
    agreed
        The encoding that the captions of its source agreed on, where they are not UTF-8.
    crop
        Which of several crops it is; None where one is made.
    """

    sample: Sample
    output: str
    key: str
    given: Given = Given()
    agreed: str | None = None
    crop: Crop | None = None


def caption_in_source(sample: Sample, data: bytes | None, options: CropOptions, agreed: str | None = None) -> Caption:
    """Read the caption of a sample from its file's bytes.

    Where there is none it is that of the options, else a warning, or an error where captions are required.

    Raises
    ------
    CaptionError
        It is no text.
    CaptionMissingError
        There is none, and one is required.
    """
    caption = Caption((), None) if data is None else decode_caption(data, caption_name(sample.caption_id or ""), agreed)
    if caption.lines:
        return caption
    if options.caption is not None:
        return Caption(
            decode_caption(options.caption.encode(), "--caption").lines, caption.sha256, caption.warnings, supplied=True
        )
    missing = CAPTION_MISSING if data is None else CAPTION_EMPTY
    if options.captions == "required":
        raise CaptionMissingError(f"{missing.sentence}: write one, or use --caption TEXT or --captions optional")
    return Caption((), caption.sha256, (*caption.warnings, missing))
