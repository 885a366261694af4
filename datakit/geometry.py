"""Sizes and boxes in whole pixels: half-open, in Pillow's order (left, top, right, bottom)."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def transposed(self) -> Size:
        """Swap width and height."""
        return Size(self.height, self.width)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Box(NamedTuple):
    """A rectangle: left and top lie inside, right and bottom just outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """Width and height of the box."""
        return Size(self.right - self.left, self.bottom - self.top)

    def inside(self, size: Size) -> bool:
        """Tell whether the box is not empty and lies wholly in a picture of this size."""
        return 0 <= self.left < self.right <= size.width and 0 <= self.top < self.bottom <= size.height


class Area(NamedTuple):
    """A rectangle with fractional edges, as detectors report them; it may reach outside the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Horizontal extent in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Vertical extent in pixels."""
        return self.bottom - self.top

    def grown(self, sides: float, up: float, down: float) -> Area:
        """Grow each edge by a share of the width (sides) or of the height (up, down)."""
        return Area(
            self.left - sides * self.width,
            self.top - up * self.height,
            self.right + sides * self.width,
            self.bottom + down * self.height,
        )

    def clipped(self, size: Size) -> Area:
        """Cut off what lies outside a picture of this size."""
        return Area(
            min(max(self.left, 0.0), size.width),
            min(max(self.top, 0.0), size.height),
            min(max(self.right, 0.0), size.width),
            min(max(self.bottom, 0.0), size.height),
        )

    def scaled(self, factor: float) -> Area:
        """Multiply every edge."""
        return Area(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)

    def rounded(self) -> Area:
        """Round every edge to a tenth of a pixel: detectors are no finer, and records stay short."""
        return Area(*(round(edge, 1) for edge in self))


def share_inside(area: Area, box: Box | Area) -> float:
    """Return the share (0 to 1) of an area's surface that lies inside a box; 0 for an empty area."""
    width = min(area.right, box.right) - max(area.left, box.left)
    height = min(area.bottom, box.bottom) - max(area.top, box.top)
    surface = area.width * area.height
    if width <= 0 or height <= 0 or surface <= 0:
        return 0.0
    return min(1.0, width * height / surface)
