"""Where is the subject? Face detectors and saliency maps, by name.

Every detector is a function ``() -> detect``, built once a process, where ``detect`` maps an upright RGB
preview (height, width, 3), uint8, to faces in the preview's pixels. Every saliency map is a function of the
same preview that returns non-negative values of any smaller shape and the same aspect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from datakit.errors import MissingLibraryError
from datakit.libraries import EXTRAS, imported, named, to_install_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from datakit.dataset.manifest import Face
    from datakit.detect.things import Thing

    Preview = NDArray[np.uint8]
    Detector = Callable[[Preview], list[Face]]
    Saliency = Callable[[Preview], NDArray[np.float32]]
    Look = Callable[[Preview], tuple[NDArray[np.float32], list[Thing]]]

# Import paths, so that only what a run really uses is imported.
DETECTORS: Mapping[str, str | None] = {
    "auto": "datakit.detect.drawn:build_second",
    "yunet": "datakit.detect.yunet:build",
    "drawn": "datakit.detect.drawn:build",
    "mediapipe": "datakit.detect.blazeface:build",
    "none": None,
}
SALIENCY: Mapping[str, str | None] = {
    "objects": "datakit.detect.objects:objects",
    "bms": "datakit.detect.saliency:boolean_map",
    "mbd": "datakit.detect.saliency:minimum_barrier",
    "spectral": "datakit.detect.saliency:spectral_residual",
    "all": "datakit.detect.saliency:combined",
    "none": None,
}

# Maps that come of objects tell these too.
_LOOKS: Mapping[str, str | None] = {"objects": "datakit.detect.objects:look"}

# What loads the network of a map that asks one, which it does itself only where it is first needed.
_NETWORKS: Mapping[str, str | None] = {"objects": "datakit.detect.objects:network"}


def check_available(detector: str, saliency: str) -> None:
    """Build what these names need, so that a missing library is found before any work. Raises as `face_detector`."""
    face_detector(detector)
    saliency_map(saliency)
    if saliency in _NETWORKS:
        network = _load(_NETWORKS, "saliency", saliency)
        with named(f"saliency {saliency}"):
            network()


@lru_cache
def face_detector(name: str) -> Detector | None:
    """Build the face detector of this name, once a process; None for ``none``.

    Raises
    ------
    UsageError
        The name is unknown.
    MissingLibraryError
        A system library is not installed.
    WeightsError
        The weights are missing or altered.
    """
    build = _load(DETECTORS, "detector", name)
    with named(f"detector {name}"):
        return None if build is None else build()


@lru_cache
def saliency_map(name: str) -> Saliency | None:
    """Return the saliency map of this name; None for ``none``. Raises as `face_detector` does."""
    return _load(SALIENCY, "saliency", name)


@lru_cache
def saliency_look(name: str) -> Look | None:
    """Return what gives the saliency map of this name and the objects that it comes of; None for ``none``. Raises as `face_detector`."""
    if name in _LOOKS:
        look: Look = _load(_LOOKS, "saliency", name)
        return look
    plain = saliency_map(name)
    return None if plain is None else lambda preview: (plain(preview), [])


def _load(table: Mapping[str, str | None], kind: str, name: str) -> Any:
    try:
        with named(f"{kind} {name}"):
            return imported(table, kind, name)
    except ModuleNotFoundError as error:
        extra = next((each for each, what in EXTRAS.items() if error.name in what.packages), None)
        if extra is None:
            raise
        raise MissingLibraryError(f"{kind} {name} needs an extra: {to_install_extra(extra)}") from error
