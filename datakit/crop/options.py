"""What decides how pictures are cropped and written: pure data."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from datakit.caption.captions import decode_caption
from datakit.dataset.accompany import parse_companion
from datakit.dataset.batches import LARGEST_BATCH, USUAL_LOSS
from datakit.dataset.manifest import FRAMINGS, CropPlan, Framing, Record
from datakit.dataset.targets import CROPS, Crop
from datakit.detect import DETECTORS, SALIENCY
from datakit.errors import UsageError
from datakit.geometry import Box, Size
from datakit.picture.colour import parse_colour
from datakit.picture.formats import DEFAULT_MAX_PIXELS, FORMATS
from datakit.sizes import DEFAULT_SIZES, SCALE_ROUNDING, choose_bucket, enlargement, in_order, largest_window, size_set

# Part of every options key: raise it when the same options give other bytes than before.
_RULES = 4


@dataclass(frozen=True, slots=True)
class CropOptions:
    """What decides how pictures are cropped and written.

    Attributes
    ----------
    sizes
        Name of the set of sizes; see `datakit.sizes.SIZE_SETS`.
    buckets
        The sizes of the set that may be used; None for all.
    detector, saliency
        Names from `datakit.detect.DETECTORS` and `SALIENCY`.
    framing
        ``full``, ``portrait`` or ``face``; see `datakit.crop.zoom`.
    crops
        Several crops of each picture, ``full`` and others of `datakit.dataset.targets.CROPS`; none for one of the framing.
    crop_captions
        What a closer crop does to its caption: ``keep``, ``distance`` or ``trim``; see `datakit.caption.distance.fit`. None is
        ``distance`` for several crops and ``keep`` for one.
    upscale
        Largest enlargement allowed; 1 allows none.
    format
        ``keep`` (jpg, png and webp stay, the rest becomes png), ``jpg``, ``png`` or ``webp``.
    quality
        Of jpg and webp, 1 to 100.
    background
        CSS colour under transparent pixels.
    captions
        Whether a picture without a caption is refused (``required``) or used (``optional``).
    caption
        The caption of pictures that have none; None to leave them without.
    max_pixels
        Pictures with more pixels are refused.
    companion
        ``NAME=PATTERN`` for each kind of picture that goes with others; see `datakit.dataset.accompany.parse_companion`.
    companions
        ``auto`` takes along what trainers' known layouts tell too, ``required`` also refuses a picture without one; None neither.
    keep_alpha
        Whether the transparency of a picture without a mask becomes its mask.
    fill_batches
        Have pictures take a neighbour size so that no size is short of a batch of so many; see `datakit.crop.filling`. None for no.
    fill_area, fill_subject
        The shares (0 to 1) of the picture's area, and of what stands out in it, that such a picture may lose by that.
    """

    sizes: str = DEFAULT_SIZES
    buckets: tuple[Size, ...] | None = None
    detector: str = "auto"
    saliency: str = "objects"
    framing: Framing = "full"
    crops: tuple[Crop, ...] = ()
    crop_captions: Literal["keep", "distance", "trim"] | None = None
    upscale: float = 1.0
    format: Literal["keep", "jpg", "png", "webp"] = "keep"
    quality: int = 95
    background: str = "white"
    captions: Literal["required", "optional"] = "optional"
    caption: str | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    companion: tuple[str, ...] = ()
    companions: Literal["auto", "required"] | None = None
    keep_alpha: bool = False
    fill_batches: int | None = None
    fill_area: float = USUAL_LOSS
    fill_subject: float = 0.05

    def __post_init__(self) -> None:
        known = size_set(self.sizes)
        unknown = [bucket for bucket in self.buckets or () if bucket not in known]
        if unknown or self.buckets == ():
            raise UsageError(
                f"buckets {list(map(str, unknown))} are not among the sizes of {self.sizes}: {' '.join(map(str, known))}"
            )
        if not (math.isfinite(self.upscale) and self.upscale >= 1):
            raise UsageError(
                f"upscale {self.upscale} is no factor of at least 1: 1 enlarges nothing, 2 doubles each side at most"
            )
        for name, value, allowed in (
            ("framing", self.framing, FRAMINGS),
            ("detector", self.detector, tuple(DETECTORS)),
            ("saliency", self.saliency, tuple(SALIENCY)),
            ("format", self.format, ("keep", *FORMATS)),
            ("captions", self.captions, ("required", "optional")),
            ("companions", self.companions, (None, "auto", "required")),
            ("crop-captions", self.crop_captions, ("keep", "distance", "trim", None)),
        ):
            if value not in allowed:
                raise UsageError(f"{name} {value!r} is unknown: choose from {', '.join(filter(None, allowed))}")
        self._check_crops()
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality} is not between 1 and 100")
        if self.caption is not None and not decode_caption(self.caption.encode(), "caption").lines:
            raise UsageError("caption is empty: give the words for pictures that have none, such as 'ohwx woman'")
        parse_colour(self.background)
        for text in self.companion:
            parse_companion(text)
        self._check_filling()

    def _check_filling(self) -> None:
        for name, share in (("fill_area", self.fill_area), ("fill_subject", self.fill_subject)):
            if not 0 <= share <= 1:
                raise UsageError(f"{name} {share} is no share from 0 to 1, such as 0.1")
        if self.fill_batches is None:
            return
        if not 2 <= self.fill_batches <= LARGEST_BATCH:
            raise UsageError(f"fill_batches {self.fill_batches}: use 2 to {LARGEST_BATCH} pictures")
        if self.crops:
            raise UsageError("--fill-batches deals out one crop of each picture, and --crops makes several: use one of them")
        if self.framing != "full":
            raise UsageError(
                f"--fill-batches moves the largest windows, and --framing {self.framing} has others: use one of them"
            )

    def _check_crops(self) -> None:
        unknown = [crop for crop in self.crops if crop not in CROPS]
        if unknown or len(set(self.crops)) != len(self.crops):
            raise UsageError(f"crops {','.join(self.crops)!r}: name each once, of {', '.join(CROPS)}")
        if self.crops and "full" not in self.crops:
            raise UsageError(
                "crops are made beside the whole scene: name full, or use --framing for one closer crop of each picture"
            )
        if self.crops and self.framing != "full":
            raise UsageError(f"framing {self.framing!r} makes one crop of each picture, crops makes several: use one of them")

    @property
    def zooms(self) -> bool:
        """Whether windows closer than the largest are made."""
        return self.framing != "full" or len(self.crops) > 1

    def fits_caption(self, crop: Crop | None) -> str:
        """Return what is done to the caption of a crop; see ``crop_captions``."""
        if crop == "full" or (crop is None and self.framing == "full"):
            return "keep"
        return self.crop_captions or ("distance" if crop else "keep")

    @property
    def allowed_buckets(self) -> tuple[Size, ...]:
        """The sizes that may be used."""
        return size_set(self.sizes) if self.buckets is None else self.buckets

    def allowing(self, upscale: float | None) -> CropOptions:
        """Return the same options for a picture for which this enlargement is allowed too."""
        return self if upscale is None or upscale <= self.upscale else replace(self, upscale=upscale)

    def allow(self, record: Record, plan: CropPlan | None = None) -> bool:
        """Tell whether a picture that was made with the same key would be made again, and to the same size.

        ``plan`` is what gives its window, where that is not decided by these options.
        """
        size = record.source_size
        if (self.captions == "required" and record.caption is None) or (size and size.area > self.max_pixels):
            return False
        if plan is not None:
            return enlargement(plan.box.size, plan.bucket) <= self.upscale
        if self.framing != "full" or record.crop not in (None, "full"):
            return True  # the limit is part of the key of windows that zoom as far as it allows
        if size is None:
            return True
        chosen = choose_bucket(size, self.allowed_buckets, self.upscale)
        return chosen == record.bucket and enlargement(largest_window(size, chosen), chosen) <= self.upscale

    def planning_key(self, moved: str = "") -> str:
        """Return a short hash of everything that decides where a window lies; ``moved`` says why it took another size."""
        # Options that say the same have one key, however they were written. The caption of pictures that have none is written anew
        # without them (see `datakit.crop.decided.Decided.to_mend`). Limits (captions, max_pixels, upscale) decide
        # whether a picture is used, not what is made of it, but for a zooming window, which they keep from going too far.
        zoom: dict[str, Any] = {"upscale": float(self.upscale)} if self.zooms else {}
        if self.crops:
            zoom["crops"] = [crop for crop in CROPS if crop in self.crops]
        decisive = {"buckets": in_order(self.allowed_buckets), "detector": self.detector, "saliency": self.saliency}
        return _short({**decisive, "framing": self.framing, **zoom, **({"moved": moved} if moved else {})})

    def key(self, planning_key: str | None = None) -> str:
        """Return a short hash of everything that decides the bytes of a picture; a plan brings its own planning key."""
        fitting = {"caption": self.crop_captions} if self.crop_captions and self.zooms else {}
        return _short({"planning": planning_key or self.planning_key(), "format": self.format, **fitting, **self._rendering()})

    def window_key(self, box: Box, bucket: Size) -> str:
        """Return a short hash of everything that decides the bytes of a picture whose window a person decided."""
        return _short({"window": [box, bucket], **self._rendering()})

    def _rendering(self) -> dict[str, Any]:
        kept = {"keep_alpha": True} if self.keep_alpha else {}
        return {"rules": _RULES, "quality": self.quality, "background": parse_colour(self.background), **kept}


def marked(plan: CropPlan, options: CropOptions, moved: str = "") -> CropPlan:
    """Return a plan that says which options made it, and which window they gave."""
    return msgspec.structs.replace(plan, planned=_mark(options.planning_key(moved), plan))


def planned_by(plan: CropPlan) -> str | None:
    """Return the planning key of the options that made a plan; None where its window was drawn or edited by a person."""
    planning_key = plan.planned.partition("-")[0]
    as_planned = plan.anchor != "manual" and plan.planned == _mark(planning_key, plan)
    return planning_key if as_planned else None


def allowance(plan: CropPlan) -> float:
    """Return the enlargement that a plan was made with, which is allowed to whoever applies it."""
    return (plan.scale or 1) + SCALE_ROUNDING


def _mark(planning_key: str, plan: CropPlan) -> str:
    return f"{planning_key}-{_short([plan.box, plan.bucket, plan.anchor, *([plan.crop] if plan.crop else [])])}"


def _short(decisive: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(decisive, order="sorted")).hexdigest()[:12]
