"""What can go wrong, and what the user is told.

DatakitError
    UsageError (ValueError)         an option or a folder cannot be used: nothing was started
        NoPicturesError             the folder holds no pictures
    DatasetBusyError (RuntimeError) another run holds the dataset's lock
    MissingLibraryError (ImportError) a system library that OpenCV or MediaPipe needs is not installed
    WeightsError (RuntimeError)     a detector's weights are missing or altered
    PlanError (ValueError)          a line of a plan or a manifest cannot be used
    SampleError (ValueError)        one sample cannot be used; the run goes on
        PictureError                its picture cannot be read
            TooLargeError           or has more pixels than are allowed
        TooSmallError               its picture would have to be enlarged beyond the limit
        CaptionError                its caption cannot be read
            CaptionMissingError     or is required and missing
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


class SampleError(DatakitError, ValueError):
    """One sample cannot be used; it is reported and the run goes on.

    Attributes
    ----------
    refused
        Whether that is a refusal; else the sample is damaged.
    ruled_out
        Whether a limit of the run excludes it, so that what an earlier run made of it is stale.
    """

    refused = False
    ruled_out = False


class PictureError(SampleError):
    """A picture cannot be read, or is larger than allowed."""


class TooLargeError(PictureError):
    """A picture has more pixels than are allowed; it was not decoded."""

    refused = ruled_out = True


class TooSmallError(SampleError):
    """A picture would have to be enlarged beyond the limit.

    Parameters
    ----------
    message
        What the user is told.
    factor
        The enlargement that would be needed, above 1.
    """

    refused = ruled_out = True

    def __init__(self, message: str, factor: float) -> None:
        super().__init__(message, factor)
        self.factor = factor

    def __str__(self) -> str:
        return str(self.args[0])


class CaptionError(SampleError):
    """A caption cannot be read."""

    refused = True


class CaptionMissingError(CaptionError):
    """A caption is required and missing."""

    ruled_out = True
