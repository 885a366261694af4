"""``datakit sheet``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from datakit.cli.sections import RUN, WRITE, SectionedCommand, section
from datakit.cli.shared import say_using
from datakit.report import counted

# So many of the signs that no font has are named.
_NAMED = 5


@click.command(cls=SectionedCommand)
@click.argument("arguments", nargs=-1, metavar="[OUT] SHEET", type=click.Path(path_type=Path))
@section(WRITE)
@click.option(
    "--columns", type=click.IntRange(1, 40), default=6, show_default=True, metavar="N", help="Pictures across one sheet."
)
@click.option("--rows", type=click.IntRange(1, 40), default=8, show_default=True, metavar="N", help="Pictures down one sheet.")
@click.option("--companion", metavar="NAME", help="Lay these masks or control pictures over the pictures.")
@section(RUN)
@click.option("--overwrite", is_flag=True, help="Replace sheets that are there.")
def sheet(*, arguments: tuple[Path, ...], columns: int, rows: int, companion: str | None, overwrite: bool) -> None:
    """Write a contact sheet: every picture as it will be trained, with its size and the beginning of its caption.

    OUT is a folder that crop or shuffle wrote, by default the one last written from here; of shards the first pictures are
    shown, others by way of datakit unpack --where. SHEET is a .jpg, .png
    or .webp file; what does not fit on it goes to SHEET-2 and so on.

    \b
    datakit sheet out/ sheet.jpg
    datakit sheet sheet.png --columns 10
    """
    from datakit.dataset.origin import refuse_in_source
    from datakit.dataset.remembered import last_dataset
    from datakit.review.sheet import write_sheets
    from datakit.shards.summary import is_sharded
    from datakit.shards.unpack import unpacked

    if len(arguments) not in (1, 2) or arguments[-1].is_dir():
        raise click.UsageError(
            "name the picture to write, such as sheet.jpg, and before it the dataset if it is not the last one"
        )
    folder = arguments[0] if len(arguments) == 2 else say_using(*last_dataset(Path.cwd()))
    refuse_in_source(arguments[-1], [folder])
    # Of a dataset in shards one sheet of its first pictures: there may be millions.
    with unpacked(folder, columns * rows) if is_sharded(folder) else nullcontext(folder) as shown:
        sheets = write_sheets(shown, arguments[-1], columns=columns, rows=rows, companion=companion, overwrite=overwrite)
    for path in sheets.files:
        click.echo(f"wrote {path}")
    if sheets.missing:
        click.echo(
            f"note: no font here has {_signs(sheets.missing)}: a box stands for each; install fonts with more signs, such as Noto",
            err=True,
        )


def _signs(missing: tuple[str, ...]) -> str:
    """Name the first of some signs, by their numbers where a terminal cannot show them."""
    named = [f"{sign} (U+{ord(sign):04X})" if sign.isprintable() else f"U+{ord(sign):04X}" for sign in missing[:_NAMED]]
    more = f" and {counted(len(missing) - _NAMED, 'more sign')}" if len(missing) > _NAMED else ""
    return ", ".join(named) + more
