"""High dynamic range made to fit sRGB, by the tone mapping of ITU-R BT.2390.

Light up to what an sRGB display shows at the reference white of HDR is kept; what is brighter is rolled off towards white.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# SMPTE ST 2084 (ITU-R BT.2100-2, table 4); light is in cd/m².
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_PQ_PEAK = 10_000.0
# ITU-R BT.2100-2, table 5, for a display of 1000 cd/m²; the luma of BT.2020 primaries.
_HLG_A, _HLG_PEAK, _HLG_GAMMA = 0.17883277, 1000.0, 1.2
_HLG_B, _HLG_C = 1 - 4 * _HLG_A, 0.5 - _HLG_A * np.log(4 * _HLG_A)
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
# What white paper has in HDR: ITU-R BT.2408-4, table 1. It becomes the white of sRGB where nothing is brighter.
WHITE = 203.0


def peak_of(brightest: float, curve: str) -> float:
    """Return the light, in cd/m², of the brightest value (0 to 1) of a picture; at least `WHITE`."""
    return max(WHITE, float(_light(np.full((1, 3), brightest, np.float32), curve).max()))


def tone_mapped(values: Floats, curve: str, matrix: Floats, peak: float) -> NDArray[np.uint8]:
    """Turn (..., 3) HDR values of 0 to 1 into sRGB.

    Parameters
    ----------
    values
        RGB, coded with ``curve``: ``PQ`` or ``HLG``.
    matrix
        Turns linear RGB of the picture's primaries into linear sRGB.
    peak
        The brightest light of the whole picture, in cd/m²; see `peak_of`.
    """
    light = _light(values, curve)
    brightest = light.max(axis=-1, keepdims=True)
    # The largest of red, green and blue is mapped and the others follow in proportion, so that hues stay.
    kept = _rolled_off(brightest, peak) / np.maximum(brightest, 1e-6)
    linear = np.clip((light * kept / WHITE) @ matrix.T, 0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return np.round(coded * 255).astype(np.uint8)


def _light(values: Floats, curve: str) -> Floats:
    """Return the light of coded values, in cd/m²."""
    if curve == "PQ":
        root = np.clip(values, 0, 1) ** (1 / _M2)
        return ((np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1) * _PQ_PEAK).astype(np.float32)
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - _HLG_C) / _HLG_A) + _HLG_B) / 12)
    luma = (scene @ _LUMA)[..., None]
    return (scene * np.maximum(luma, 1e-6) ** (_HLG_GAMMA - 1) * _HLG_PEAK).astype(np.float32)


def _pq(light: Floats | float) -> Floats:
    power = (np.asarray(light, np.float32) / _PQ_PEAK) ** _M1
    return (((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2).astype(np.float32)


def _rolled_off(light: Floats, peak: float) -> Floats:
    """Map light of up to ``peak`` to at most `WHITE`: ITU-R BT.2390-10, section 5.4.1, with a black of 0."""
    if peak <= WHITE:
        return light
    top = _pq(peak)
    most = _pq(WHITE) / top
    start = 1.5 * most - 0.5
    share = np.minimum(_pq(light) / top, 1)
    along = (share - start) / (1 - start)
    spline = (
        (2 * along**3 - 3 * along**2 + 1) * start
        + (along**3 - 2 * along**2 + along) * (1 - start)
        + (-2 * along**3 + 3 * along**2) * most
    )
    return _light(np.where(share < start, share, spline) * top, "PQ")
