"""Have all pictures of a grid made, row by row, and show what there is: strips and a page, after every row and at the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from datakit.dataset.layout import CELLS, STATE_FOLDER
from datakit.dataset.manifest import write_atomically
from datakit.dataset.remembered import one_at_a_time
from datakit.errors import DatakitError, NodeError, UnreachableError, UsageError
from datakit.report import counted
from datakit.trained.comfy.figures import Figures, Measuring
from datakit.trained.comfy.grid import Cell, Grid, Row
from datakit.trained.comfy.pictures import Pictures
from datakit.trained.comfy.strip import Shown, draw_strip
from datakit.trained.comfy.webpage import Page, Place, Strip, write_page

INDEX = "index.html"
# Equal failures in a row, after which the rest would fail too.
_EQUAL_FAILURES = 3
_WAITING = "not made yet"
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Look:
    """How strips are shown.

    Attributes
    ----------
    title, made_by
        On the page.
    slider
        The columns under it.
    opens
        Whether the page opens with the slider.
    height
        Of the pictures in a strip, in pixels.
    texts
        Prompt and seed that the workflow itself holds, for rows that leave them.
    """

    title: str
    made_by: str
    slider: tuple[int, int] = (0, 0)
    opens: bool = False
    height: int = 512
    texts: tuple[str, str] = ("", "")


@dataclass(slots=True)
class Drawn:
    """What a run did.

    Attributes
    ----------
    made, kept
        Pictures of this run, and those that were there.
    failed
        (where, why) of those that failed.
    missing
        How many were not tried any more.
    warned
        (where, what) of pictures that look wrong.
    stopped
        Why the rest was not tried.
    """

    made: int = 0
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    missing: int = 0
    warned: list[tuple[str, str]] = field(default_factory=list)
    stopped: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "made": self.made,
            "kept": self.kept,
            "failed": [{"cell": cell, "why": why} for cell, why in self.failed],
            "missing": self.missing,
            "warnings": [{"cell": cell, "warning": warning} for cell, warning in self.warned],
            "stopped": self.stopped,
        }


def check_out(out: Path) -> None:
    """Make sure that a folder is one of strips, or is to become one.

    Raises
    ------
    UsageError
        It holds other things.
    """
    if out.is_dir() and any(path.name != STATE_FOLDER for path in out.iterdir()) and not (out / CELLS).exists():
        raise UsageError(f"{out} holds other things than strips: name a folder of its own")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder")


class Drawing:
    """A folder of strips while its pictures are made."""

    def __init__(self, out: Path, grid: Grid, pictures: Pictures, look: Look, measuring: Measuring) -> None:
        self.drawn = Drawn()
        self._out, self._grid, self._pictures, self._look, self._measuring = out, grid, pictures, look, measuring
        self._found: dict[tuple[Row, str], Path] = {}
        self._why: dict[tuple[Row, str], str] = {}
        self._strips: dict[Row, tuple[list[Shown], str]] = {}

    def run(self, progress: Progress) -> Drawn:
        """Make what is missing; whatever ends the run, what there is by then is shown.

        Raises
        ------
        ServerError
            The server is gone, or answers otherwise than ComfyUI.
        """
        cells = list(self._grid.cells())
        self._out.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self._out):
            (self._out / CELLS).touch()
            try:
                self._make(progress(cells, len(cells), "pictures"))
            finally:
                self._show()
        drawn = self.drawn
        drawn.made = self._pictures.made
        drawn.missing = len(cells) - len(self._found) - len(drawn.failed)
        return drawn

    def _make(self, cells: Iterable[Cell]) -> None:
        same, last = 0, ""
        before: Row | None = None
        for cell in cells:
            if before is not None and cell.row != before:
                self._show()
            before = cell.row
            at = (cell.row, cell.column.slug)
            kept = self._pictures.kept(cell)
            if kept is not None:
                self.drawn.kept += 1
                self._found[at] = kept
                continue
            try:
                self._found[at] = self._pictures.make(cell)
                same = 0
            except UnreachableError:
                raise
            except DatakitError as error:
                why = str(error)
                self._why[at] = why
                self.drawn.failed.append((cell.stem, why))
                same, last = (same + 1 if why == last else 1), why
                if same >= _EQUAL_FAILURES or not isinstance(error, NodeError):
                    self.drawn.stopped = (
                        f"{counted(same, 'picture')} in a row failed alike: the rest is not tried" if same > 1 else why
                    )
                    return

    def _show(self) -> None:
        """Write the strips of rows that have pictures, and the page."""
        shown = [strip for row in self._grid.rows if (strip := self._strip(row))]
        look = self._look
        write_page(self._out / INDEX, Page(look.title, look.made_by, look.slider, look.opens), shown)

    def _strip(self, row: Row) -> Strip:
        columns = self._grid.columns
        paths = [self._found.get((row, column.slug)) for column in columns]
        whys = [self._why.get((row, column.slug), _WAITING) for column in columns]
        prompt = self._look.texts[0] if row.prompt is None else row.prompt
        seed = f"seed {self._look.texts[1] if row.seed is None else row.seed}"
        figures = self._measuring.of_row(paths, has_base=columns[0].lora is None and columns[0].model is None)
        for column, found in zip(columns, figures, strict=True):
            self._warn(f"{row.slug}/{row.seed_slug}/{column.slug}", found)
        shown = [Shown(column.label, path, why) for column, path, why in zip(columns, paths, whys, strict=True)]
        if any(paths) and self._strips.get(row, ([], ""))[0] != shown:
            self._strips[row] = shown, self._drawn_strip(row, shown, f"{prompt} · {seed}")
        places = tuple(
            Place(column.label, None, why=why) if path is None else Place(column.label, self._name(path), _size(path), found, why)
            for column, path, why, found in zip(columns, paths, whys, figures, strict=True)
        )
        return Strip(prompt, seed, self._strips[row][1] if row in self._strips else None, places)

    def _drawn_strip(self, row: Row, shown: list[Shown], caption: str) -> str:
        """Draw a row, write its strip unless that is there already, and return its name."""
        name = f"strips/{row.slug}-{row.seed_slug}.png"
        buffer = io.BytesIO()
        draw_strip(shown, caption, self._look.height).save(buffer, "png", compress_level=1)
        path = self._out / name
        if not path.exists() or path.read_bytes() != buffer.getvalue():
            write_atomically(path, buffer.getvalue())
        return name

    def _warn(self, where: str, figures: Figures | None) -> None:
        for warning in figures.warnings if figures else ():
            if (where, warning) not in self.drawn.warned:
                self.drawn.warned.append((where, warning))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._out).as_posix()


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size
