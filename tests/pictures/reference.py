"""What colours are as sRGB, from published formulas and matrices alone: no colour library is asked."""

from __future__ import annotations

import numpy as np

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
BT601_625 = ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060))


def matrix(primaries, white):
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    x, y = white
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])


def srgb_light(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_values(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def power(gamma):
    return lambda values: values**gamma


def to_srgb(values, primaries=SRGB, curve=srgb_light, white=D65):
    """sRGB levels (0 to 255) of RGB values (0 to 1); white becomes white (Bradford, as in ICC.1:2022 annex E)."""
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    whites = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in (white, D65)]
    adapt = np.linalg.inv(cone) @ np.diag((cone @ whites[1]) / (cone @ whites[0])) @ cone
    turn = np.linalg.inv(matrix(SRGB, D65)) @ adapt @ matrix(primaries, white)
    return srgb_values(curve(np.asarray(values, float)) @ turn.T) * 255


def pq_values(nits):
    """SMPTE ST 2084, equation 5.2."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (np.asarray(nits, float) / 10_000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg_values(nits):
    """ITU-R BT.2100-2, table 5, for greys on a display of 1000 cd/m²."""
    scene = (np.asarray(nits, float) / 1000) ** (1 / 1.2)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def nits_of_pq(values):
    """SMPTE ST 2084, equation 4.1."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = np.asarray(values, float) ** (1 / m2)
    return (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * 10_000


def rolled_off(nits, peak, white):
    """ITU-R BT.2390-10, section 5.4.1 (EETF): light on a display of ``peak`` for one of ``white``, both black at 0."""
    whole = pq_values(peak)
    e1, most = pq_values(nits) / whole, pq_values(white) / whole
    knee = 1.5 * most - 0.5
    t = np.clip((e1 - knee) / (1 - knee), 0, 1)
    hermite = np.stack([2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2], axis=-1) @ [knee, 1 - knee, most]
    return nits_of_pq(np.where(e1 < knee, e1, hermite) * whole)
