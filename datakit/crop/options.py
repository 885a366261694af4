"""What decides how pictures are cropped and written: pure data."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Literal

import msgspec

from datakit.dataset.manifest import FRAMINGS, CropPlan, Framing, Record
from datakit.detect import DETECTORS, SALIENCY
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.picture.colour import parse_colour
from datakit.picture.formats import DEFAULT_MAX_PIXELS, FORMATS
from datakit.sizes import BUCKETS, SCALE_ROUNDING, choose_bucket, enlargement, in_order, largest_window

# Part of every options key: raise it when the same options give other bytes than before.
_RULES = 2


@dataclass(frozen=True, slots=True)
class CropOptions:
    """What decides how pictures are cropped and written.

    Attributes
    ----------
    buckets
        The sizes that may be used, some or all of the eight.
    detector, saliency
        Names from `datakit.detect.DETECTORS` and `SALIENCY`.
    framing
        ``full``, ``portrait`` or ``face``; see `datakit.crop.framing.frame`.
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
    max_pixels
        Pictures with more pixels are refused.
    """

    buckets: tuple[Size, ...] = BUCKETS
    detector: str = "yunet"
    saliency: str = "objects"
    framing: Framing = "full"
    upscale: float = 1.0
    format: Literal["keep", "jpg", "png", "webp"] = "keep"
    quality: int = 95
    background: str = "white"
    captions: Literal["required", "optional"] = "optional"
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        unknown = [bucket for bucket in self.buckets if bucket not in BUCKETS]
        if unknown or not self.buckets:
            raise UsageError(f"buckets {list(map(str, unknown))} are not among the eight sizes: {' '.join(map(str, BUCKETS))}")
        if self.framing not in FRAMINGS:
            raise UsageError(f"framing {self.framing!r} is unknown: choose from {', '.join(FRAMINGS)}")
        if not (math.isfinite(self.upscale) and self.upscale >= 1):
            raise UsageError(
                f"upscale {self.upscale} is no factor of at least 1: 1 enlarges nothing, 2 doubles each side at most"
            )
        for name, value, allowed in (
            ("detector", self.detector, tuple(DETECTORS)),
            ("saliency", self.saliency, tuple(SALIENCY)),
            ("format", self.format, ("keep", *FORMATS)),
            ("captions", self.captions, ("required", "optional")),
        ):
            if value not in allowed:
                raise UsageError(f"{name} {value!r} is unknown: choose from {', '.join(allowed)}")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality} is not between 1 and 100")
        parse_colour(self.background)

    def key(self, plan: CropPlan | None = None) -> str:
        """Return a short hash of everything that decides the bytes of a sample, an edited plan included."""
        decisive = asdict(self)
        for limit in ("captions", "max_pixels", "upscale"):
            del decisive[limit]  # decide whether a picture is used, not what is made of it; see `allow`
        # Options that say the same have one key, however they were written.
        decisive |= {"buckets": in_order(self.buckets), "background": parse_colour(self.background)}
        if self.framing != "full":
            decisive["upscale"] = float(self.upscale)  # how far a window may zoom in
        if plan is not None:
            decisive = {"plan": [plan.box, plan.bucket], **{name: decisive[name] for name in ("quality", "background")}}
        text = msgspec.json.encode({"rules": _RULES, **decisive}, order="sorted")
        return hashlib.sha256(text).hexdigest()[:12]

    def most(self, plan: CropPlan) -> float:
        """Return the largest enlargement that a window given by a plan may have: what the plan was made with is allowed."""
        return max(self.upscale, (plan.scale or 1) + SCALE_ROUNDING)

    def allow(self, record: Record, plan: CropPlan | None = None) -> bool:
        """Tell whether a picture that was made with the same key would be made again, and to the same size.

        ``plan`` is what gives its window, where that is not decided by these options.
        """
        size = record.source_size
        if (self.captions == "required" and record.caption is None) or (size and size.area > self.max_pixels):
            return False
        if plan is not None:
            return enlargement(plan.box.size, plan.bucket) <= self.most(plan)
        if size is None:
            return True
        chosen = choose_bucket(size, self.buckets, self.upscale)
        return chosen == record.bucket and enlargement(largest_window(size, chosen), chosen) <= self.upscale
