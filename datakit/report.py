"""What a run did and what it found: counts, warnings and refusals by kind, and the exit code they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from datakit.errors import REFUSED, RULED_OUT, SampleError, TooSmallError
from datakit.geometry import Size

# What each kind says of a number of them, as in "3 enlarged".
KINDS = {
    "enlarged": "enlarged",
    "face-cut": "with a face that does not fit",
    "face-missing": "without the face that the framing wants",
    "face-doubtful": "placed by what may be no face",
    "moved": "of a neighbour size, to fill batches",
    "caption-missing": "without a caption",
    "caption-empty": "with an empty caption",
    "caption-marked": "with a byte order mark in the caption",
    "caption-encoded": "with a caption that is not UTF-8",
    "caption-invisible": "with invisible characters in the caption",
    "caption-html": "with HTML in the caption",
    "caption-lines": "with a caption of one tag a line",
    "caption-wrapped": "with a caption wrapped over lines",
    "caption-elsewhere": "with a caption that another tool wrote",
    "caption-fitted": "with words taken out of the caption that the crop contradicts",
    "caption-beyond": "with tokens of what the crop may not show",
    "caption-distance": "with a caption that speaks of another distance",
    "frames": "of several frames or pages",
    "profile": "with a colour profile that is not used",
    "profile-guessed": "with colours that stand in EXIF alone",
    "hdr": "of high dynamic range, tone-mapped",
    "side-data": "with damaged side data that is ignored",
    "decoder": "that their decoder warns of",
    "blank": "that come out in one colour",
    "exif": "with a broken EXIF block",
    "companion-turn": "with a companion that may not be turned as the picture is",
    "companion-blank": "with a mask that is black all over, or nearly",
    "source-gone": "augmented from the crop, its source being gone",
    "not-made-anew": "not made anew",
    "older": "noted by an older datakit",
}


@dataclass(frozen=True, slots=True, order=True)
class Warned:
    """What the user should know of a sample that is used all the same: a kind, which is a word of `KINDS`, and a sentence."""

    kind: str
    sentence: str


def of_picture(warnings: Sequence[Warned]) -> tuple[Warned, ...]:
    """Return those of some warnings that do not speak of a caption, which is another now."""
    return tuple(warning for warning in warnings if not warning.kind.startswith("caption-"))


# Why a crop is not made of a picture, as said of a number of them; those with a face have other crops than those without.
ABSENCES = {
    "too-small": "too small",
    "no-closer": "nearly as the next larger crop",
    "no-face": "without a face",
    "face": "with a face",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why one of several crops is not made of a picture: a word of `ABSENCES`; of a small one, the enlargement that would frame it."""

    kind: str
    upscale_needed: float | None = None


# Problems that the next run may not have.
PASSING = frozenset({"crashed", "not-written"})


@dataclass(frozen=True, slots=True)
class Problem:
    """A sample that was not used.

    Attributes
    ----------
    source, reason
        Its name, and why, as a sentence.
    kind
        Why, as a word: that of a `datakit.errors.SampleError`, or of the place where it was found.
    upscale_needed, size
        Of a picture that is too small, the enlargement that it would need, and its size.
    """

    source: str
    reason: str
    kind: str = "unusable"
    upscale_needed: float | None = None
    size: Size | None = None

    @classmethod
    def of(cls, source: str, error: SampleError) -> Problem:
        """Return what an error says of a sample."""
        if isinstance(error, TooSmallError):
            return cls(source, str(error), error.kind, error.factor, Size(*error.size))
        return cls(source, str(error), error.kind)

    @property
    def refused(self) -> bool:
        """Whether the sample is refused; else it is damaged."""
        return self.kind in REFUSED

    @property
    def ruled_out(self) -> bool:
        """Whether a limit of the run excludes it, so that what an earlier run made of it is stale."""
        return self.kind in RULED_OUT

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; what is not known is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Report:
    """What a stage did.

    Attributes
    ----------
    stage, source, output
        Which command ran, from which folder to which.
    done, skipped
        Files written in this run, and those that were up to date.
    refused
        Samples that the options or the rules exclude.
    failed
        Samples that are damaged, or that could not be written.
    removed, stale
        Outputs whose source is gone, and those of earlier options whose source is refused now; ``pruned`` tells
        whether they were deleted.
    notes
        Things done differently from what the user may expect: renamed outputs, edits left alone.
    warnings
        (sample, warning) of samples that were used all the same.
    buckets
        Files of the dataset per size, those that were up to date included.
    faces_cut
        (sample, share kept) of pictures whose largest face is not whole.
    table
        Figures of one stage only, by what they count.
    rejected
        Samples left out because a person rejected them in the review.
    crops
        Of runs that make several crops of a picture: how many there are of each.
    left_out
        (sample, crop, why) of the crops that were asked for and not made.
    captions_supplied
        Files of the dataset whose caption the options gave, as there is no other.
    withheld
        Whether a strict run wrote nothing because of what was refused or failed.
    """

    stage: str
    source: str
    output: str
    done: int = 0
    skipped: int = 0
    refused: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    pruned: bool = False
    notes: list[str] = field(default_factory=list)
    warnings: list[tuple[str, Warned]] = field(default_factory=list)
    buckets: Counter[Size] = field(default_factory=Counter)
    faces_cut: list[tuple[str, float]] = field(default_factory=list)
    table: dict[str, int | float | str] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)
    withheld: bool = False
    crops: Counter[str] = field(default_factory=Counter)
    left_out: list[tuple[str, str, LeftOut]] = field(default_factory=list)
    captions_supplied: int = 0

    @property
    def upscale_needed(self) -> float | None:
        """The enlargement that would take every picture refused as too small; None where none was."""
        return max((problem.upscale_needed for problem in self.refused if problem.upscale_needed), default=None)

    def warned_of(self) -> str:
        """Return how many warnings there are of each kind, most first: ``3 enlarged, 1 without a caption``."""
        number = Counter(warning.kind for _, warning in self.warnings)
        return ", ".join(
            f"{count} {KINDS.get(kind, kind)}" for kind, count in sorted(number.items(), key=lambda item: (-item[1], item[0]))
        )

    def add(self, problem: Problem) -> None:
        """Take a sample that was not used, as refused or as failed."""
        (self.refused if problem.refused else self.failed).append(problem)

    @property
    def exit_code(self) -> int:
        """0 where every sample was used, else 1."""
        return 1 if self.refused or self.failed else 0

    def sort(self) -> None:
        """Put everything into the order of the samples, whatever order the workers finished in."""
        # Copies of one picture share what is wrong with it, and the warnings of their caption.
        for problems in (self.refused, self.failed):
            problems[:] = sorted(dict.fromkeys(problems), key=lambda problem: (problem.source, problem.reason))
        self.removed.sort()
        self.warnings = sorted(set(self.warnings))
        self.faces_cut.sort()
        self.left_out = sorted(set(self.left_out), key=lambda item: item[:2])

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data for ``--json``."""
        return {
            "stage": self.stage,
            "source": self.source,
            "output": self.output,
            "done": self.done,
            "skipped": self.skipped,
            "refused": [problem.to_json() for problem in self.refused],
            "failed": [problem.to_json() for problem in self.failed],
            "removed": self.removed,
            "stale": self.stale,
            "pruned": self.pruned,
            "notes": self.notes,
            "warnings": [
                {"source": source, "kind": warning.kind, "warning": warning.sentence} for source, warning in self.warnings
            ],
            "buckets": {
                str(bucket): count for bucket, count in sorted(self.buckets.items(), key=lambda item: (-item[1], item[0]))
            },
            "faces_cut": [{"source": source, "kept": kept} for source, kept in self.faces_cut],
            "table": self.table,
            "crops": dict(self.crops),
            "left_out": [
                {"source": source, "crop": crop, "kind": why.kind, "upscale_needed": why.upscale_needed}
                for source, crop, why in self.left_out
            ],
            "rejected": self.rejected,
            "withheld": self.withheld,
            "exit_code": self.exit_code,
        }


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 output``, ``2 outputs``; ``many`` is the plural where it takes more than an s."""
    return f"{number} {one}" if number == 1 else f"{number} {many or one + 's'}"


def few(names: Sequence[str]) -> str:
    """Return the first three of some names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def in_bytes(number: int) -> str:
    """Return a number of bytes as it is read: ``114 MB``, ``4.05 GB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 1000 * size else f"{number / size:.0f} {unit}"
    return counted(number, "byte")
