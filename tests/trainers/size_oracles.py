"""What OneTrainer and ai-toolkit do to a size, worked out in whole numbers and fractions instead of the floats they use.

Where a float may fall on either side of a half or of a whole number, both results are given.
"""

from __future__ import annotations

import math
from fractions import Fraction

Sides = tuple[int, int]
# One picture: the sizes that it may be scaled to, and those that it may be cut to.
Outcome = tuple[set[Sides], set[Sides]]


def onetrainer(size: Sides, resolution: str, step: int) -> Outcome:
    """``1216x832`` is one size; ``1024`` is eighteen, of which the nearest height / width is taken."""
    width, height = size
    if "x" in resolution:
        wanted = {tuple(_nearest(Fraction(int(side), step)) * step for side in resolution.split("x"))}
    else:
        sizes = _squares_of(int(resolution), step)
        far = {each: abs(Fraction(each[1], each[0]) - Fraction(height, width)) for each in sizes}
        wanted = {each for each in sizes if far[each] == min(far.values())}
    scaled = set()
    for across, down in wanted:
        if height * across > width * down:
            scaled |= {(across, side) for side in _halves(Fraction(height * across, width))}
        else:
            scaled |= {(side, down) for side in _halves(Fraction(width * down, height))}
    return scaled, wanted


def aitoolkit(size: Sides, resolution: int, step: int) -> Outcome:
    """Each side floor or ceil to the step, nearest to the area that is wanted, never above that of the square."""
    width, height = size
    most = resolution**2
    area = min(width * height, most)
    # floor(width x sqrt(area / (width x height)) / step), without a root of anything but a whole number.
    floors = [math.isqrt(Fraction(a * area, b * step**2).__floor__()) for a, b in ((width, height), (height, width))]
    exact = [floor**2 * b * step**2 == a * area for floor, (a, b) in zip(floors, ((width, height), (height, width)), strict=True)]
    sides = [[floor * step] if whole else [floor * step, (floor + 1) * step] for floor, whole in zip(floors, exact, strict=True)]
    fits = [(a, b) for a in sides[0] for b in sides[1] if a and b and a * b <= most]
    if fits:
        near = min(abs(a * b - area) for a, b in fits)
        wanted = {(a, b) for a, b in fits if abs(a * b - area) == near}
    else:
        wanted = {(max(step, floors[0] * step), max(step, floors[1] * step))}
    scaled = set()
    for across, down in wanted:
        factor = max(Fraction(across, width), Fraction(down, height))
        scaled |= {(a, b) for a in _ceilings(width * factor) for b in _ceilings(height * factor)}
    return scaled, wanted


def _squares_of(number: int, step: int) -> set[Sides]:
    found = set()
    for quarters in (4, 5, 6, 7, 8, 10, 12, 14, 16):
        short = _root(Fraction(4 * number**2, quarters * step**2)) * step
        long = _root(Fraction(quarters * number**2, 4 * step**2)) * step
        found |= {(short, long), (long, short)}
    return found


def _root(square: Fraction) -> int:
    """The whole number nearest to a root, by comparing squares."""
    floor = math.isqrt(square.__floor__())
    return (
        floor
        if square < (floor + Fraction(1, 2)) ** 2 or (square == (floor + Fraction(1, 2)) ** 2 and floor % 2 == 0)
        else floor + 1
    )


def _nearest(value: Fraction) -> int:
    return round(value)


def _halves(value: Fraction) -> set[int]:
    return {math.floor(value), math.ceil(value)} if value % 1 == Fraction(1, 2) else {round(value)}


def _ceilings(value: Fraction) -> set[int]:
    return {math.ceil(value), math.ceil(value) + 1} if value % 1 == 0 else {math.ceil(value)}
