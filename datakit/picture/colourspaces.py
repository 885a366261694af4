"""Colour spaces that a file describes by numbers instead of an ICC profile: chromaticities, gamma, ITU-T H.273 codes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Chromaticities = tuple[float, ...]

# Red, green, blue and white as CIE x, y: ITU-T H.273 (07/2021), table 2. Adobe RGB (1998), section 4.3.1.1.
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
SRGB: Chromaticities = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
_SMPTE_170M: Chromaticities = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65)
BT2020: Chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65)
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    4: (0.670, 0.330, 0.210, 0.710, 0.140, 0.080, *_C),
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060, *_D65),
    6: _SMPTE_170M,
    7: _SMPTE_170M,
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: BT2020,
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
_ADOBE_RGB: Chromaticities = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060, *_D65)
# Table 3. Pictures coded with the curves of television cameras (1, 6, 14, 15) and of no known curve (2) are made for the same
# displays as sRGB, and browsers show them as sRGB.
_SRGB_LIKE = frozenset({1, 2, 6, 13, 14, 15})
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_HDR = {16: "PQ", 18: "HLG"}
# Above this difference from 1 / 2.2 a gamma changes what is seen (libpng 1.6, pngpriv.h, PNG_GAMMA_THRESHOLD_FIXED: 0.05).
_SAME_GAMMA = 0.05


class ColourSpace(NamedTuple):
    """What RGB values mean.

    Attributes
    ----------
    primaries
        CIE x and y of red, green, blue and white.
    gamma
        Light is the value, 0 to 1, to this power; None for the curve of sRGB.
    hdr
        ``PQ`` or ``HLG`` where the curve is one of ITU-R BT.2100.
    """

    primaries: Chromaticities
    gamma: float | None = None
    hdr: str | None = None


ADOBE_RGB = ColourSpace(_ADOBE_RGB, 563 / 256)  # Adobe RGB (1998), section 4.3.1.2


def of_codes(primaries: int, transfer: int) -> ColourSpace | None:
    """Return the space of ColourPrimaries and TransferCharacteristics as ITU-T H.273 numbers them; None where it is sRGB.

    Raises
    ------
    ValueError
        A code is reserved, or not one that pictures have.
    """
    if primaries not in _PRIMARIES and primaries != 2:
        raise ValueError(f"colour primaries {primaries} of ITU-T H.273")
    if transfer not in _SRGB_LIKE and transfer not in _GAMMAS and transfer not in _HDR:
        raise ValueError(f"transfer characteristics {transfer} of ITU-T H.273")
    space = ColourSpace(_PRIMARIES.get(primaries, SRGB), _GAMMAS.get(transfer), _HDR.get(transfer))
    return None if space == ColourSpace(SRGB) else space


def of_gamma(exponent: float | None, primaries: Chromaticities | None) -> ColourSpace | None:
    """Return the space of a file's gamma (light is the value to the power 1 / ``exponent``); None where it is sRGB.

    Both as PNG's gAMA and cHRM give them; where one is missing it is that of sRGB.
    """
    primaries = primaries or SRGB
    gamma = None if exponent is None or abs(exponent * 2.2 - 1) < _SAME_GAMMA else 1 / exponent
    near = max(abs(a - b) for a, b in zip(primaries, SRGB, strict=True)) < 0.002
    return None if near and gamma is None else ColourSpace(SRGB if near else primaries, gamma)


@lru_cache(maxsize=32)
def profile_of(space: ColourSpace) -> bytes:
    """Return an ICC profile of a space that is not HDR. Raises ValueError where its primaries span no space."""
    import imagecodecs
    import numpy as np

    red, green, blue, white = points = [space.primaries[at : at + 2] for at in (0, 2, 4, 6)]
    impossible = "its chromaticities or gamma are impossible"
    if any(y <= 0 or x + y > 1.001 for x, y in points) or not 0.01 < (space.gamma or 1) < 100:
        raise ValueError(impossible)
    values = np.linspace(0, 1, 4096)
    # IEC 61966-2-1, the curve of sRGB.
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    curve = {"gamma": space.gamma} if space.gamma else {"transferfunction": np.round(light * 65535).astype(np.uint16)}
    primaries = (*red, 1.0, *green, 1.0, *blue, 1.0)
    try:
        return bytes(imagecodecs.cms_profile("rgb", whitepoint=(*white, 1.0), primaries=primaries, **curve))
    except RuntimeError:  # littleCMS finds no space between them
        raise ValueError(impossible) from None


def to_linear_srgb(primaries: Chromaticities) -> NDArray[np.float32]:
    """Return the 3x3 matrix from linear RGB of some primaries to linear sRGB, white to white."""
    import numpy as np

    def to_xyz(of: Chromaticities) -> NDArray[np.float64]:
        """Lindbloom, RGB/XYZ Matrices: the columns are the primaries, scaled so that they add up to white."""
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in zip(of[::2], of[1::2], strict=True)]).T
        return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])

    matrix = np.linalg.solve(to_xyz(SRGB), to_xyz(primaries))
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
