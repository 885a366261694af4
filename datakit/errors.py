"""What can go wrong, and what the user is told.

DatakitError
    UsageError (ValueError)         an option or a folder cannot be used: nothing was started
        NoPicturesError             the folder holds no pictures
    DatasetBusyError (RuntimeError) another run holds the dataset's lock
    MissingLibraryError (ImportError) a system library that OpenCV or MediaPipe needs is not installed
    WeightsError (RuntimeError)     a detector's weights are missing or altered
    PlanError (ValueError)          a line of a plan or a manifest cannot be used
    WeightsFileError (ValueError)   a file of trained weights cannot be read, or is not whole
    WorkflowError (ValueError)      a workflow of ComfyUI cannot be used, or does not say which node is meant
    ServerError (RuntimeError)      ComfyUI cannot be reached, or does not answer as it should
        UnreachableError            nobody answers at its address
        NodeError                   a node of the workflow refused its values, or failed
    SampleError (ValueError)        one sample cannot be used; the run goes on
        PictureError                its picture cannot be read
            TooLargeError           or has more pixels than are allowed
        TooSmallError               its picture would have to be enlarged beyond the limit
        WindowError                 the window that somebody wants cannot be
        CaptionError                its caption cannot be read
            CaptionMissingError     or is required and missing
        CompanionError              a companion of its picture cannot be read, or has another size
            CompanionMissingError   or is required and missing
        OccupiedError               a file is in the way that is not datakit's
"""

from __future__ import annotations


class DatakitError(Exception):
    """Every error that datakit raises on purpose."""


class UsageError(DatakitError, ValueError):
    """An option or a folder cannot be used; nothing was started."""


class NoPicturesError(UsageError):
    """A folder holds no pictures."""


class DatasetBusyError(DatakitError, RuntimeError):
    """Another run of datakit is writing to the same dataset."""


class MissingLibraryError(DatakitError, ImportError):
    """A system library is missing; the message names the package that holds it."""


class WeightsError(DatakitError, RuntimeError):
    """The weights of a detector are missing or do not match their sha256."""


class PlanError(DatakitError, ValueError):
    """A line of a plan or a manifest cannot be used; the message names file and line."""


class WeightsFileError(DatakitError, ValueError):
    """A file of trained weights cannot be read, or is not whole.

    Attributes
    ----------
    kind
        A word for why: empty, cut (or still being written), pointer (of Git LFS), damaged, foreign (another format) or missing.
    """

    def __init__(self, message: str, kind: str = "damaged") -> None:
        super().__init__(message)
        self.kind = kind


class WorkflowError(DatakitError, ValueError):
    """A workflow of ComfyUI cannot be used, or does not say which of its nodes is meant."""


class ServerError(DatakitError, RuntimeError):
    """ComfyUI cannot be reached, or does not answer as it should."""


class UnreachableError(ServerError):
    """Nobody answers at the address of ComfyUI."""


class NodeError(ServerError):
    """A node of the workflow refused one of its values, or failed; the message names both."""


class SampleError(DatakitError, ValueError):
    """One sample cannot be used; it is reported and the run goes on.

    Attributes
    ----------
    kind
        A word for what it is, which code asks for.
    """

    kind = "unusable"


class PictureError(SampleError):
    """A picture cannot be read, or is larger than allowed."""

    kind = "picture"


class TooLargeError(PictureError):
    """A picture has more pixels than are allowed; it was not decoded."""

    kind = "too-large"


class TooSmallError(SampleError):
    """A picture would have to be enlarged beyond the limit.

    Parameters
    ----------
    message
        What the user is told.
    factor
        The enlargement that would be needed, above 1.
    size
        Width and height of the upright picture.
    """

    kind = "too-small"

    def __init__(self, message: str, factor: float, size: tuple[int, int]) -> None:
        super().__init__(message, factor, size)
        self.factor = factor
        self.size = size

    def __str__(self) -> str:
        return str(self.args[0])


class WindowError(SampleError):
    """A window that was drawn or planned does not lie in its picture, or would be stretched."""

    kind = "window"


class CaptionError(SampleError):
    """A caption cannot be read."""

    kind = "caption"


class CaptionMissingError(CaptionError):
    """A caption is required and missing."""

    kind = "caption-missing"


class CompanionError(SampleError):
    """A companion of a picture cannot be read, or has another size than its picture."""

    kind = "companion"


class CompanionMissingError(CompanionError):
    """A companion is required and missing."""

    kind = "companion-missing"


class OccupiedError(SampleError):
    """A file is where an output belongs that datakit did not write, or that was edited since."""

    kind = "in-the-way"


# What limits of a run exclude, so that what an earlier run made of it is stale; and all that is refused, not damaged.
RULED_OUT = frozenset({TooLargeError.kind, TooSmallError.kind, CaptionMissingError.kind, CompanionMissingError.kind})
REFUSED = RULED_OUT | {CaptionError.kind, CompanionError.kind, OccupiedError.kind}
