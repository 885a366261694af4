"""``datakit captions``: out into a table, back into a dataset, and what they will teach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.shared import json_option, overwrite_option, print_json, write_files

if TYPE_CHECKING:
    from datakit.dataset.exchange import Exchanged

_SHOWN = 20


class _ImportsByDefault(click.Group):
    """A group whose command `import` needs no name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["import", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ImportsByDefault)
def captions() -> None:
    """Write captions out to edit them, take them back, and see what they will teach.

    \b
    datakit captions export out/ captions.csv      (edit it in a spreadsheet, then:)
    datakit captions import captions.csv out/
    datakit captions import src/ out/ --join-lines
    datakit captions audit out/ --trigger ohwx
    """


@captions.command("export")
@click.argument("folder", metavar="SRC", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@overwrite_option
@json_option
@click.pass_context
def export(ctx: click.Context, *, folder: Path, target: Path, overwrite: bool, as_json: bool) -> None:
    """Write the captions of a folder or a dataset to TARGET: a .csv or .jsonl table, or a folder of .txt files.

    Read are a.txt, else a.caption, a.tags, a.json; else metadata.jsonl, .csv or .parquet, captions.json, kohya's
    meta_cap.json; else the prompt or the description inside the picture. Nothing in SRC is changed.
    """
    from datakit.dataset.exchange import FORMATS, export_captions, written
    from datakit.errors import UsageError

    kind = target.suffix[1:].lower() or "txt"
    if kind not in FORMATS:
        raise click.UsageError(f"{target}: the ending {target.suffix} is unknown: use .csv, .jsonl, or a folder for .txt files")
    if target.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{target} would lie in {folder}, where nothing is changed: write it elsewhere")
    exchanged = export_captions(folder)
    write_files(written(exchanged.captions, kind, target), overwrite, [folder], quiet=as_json or kind == "txt")
    if as_json:
        print_json({"written": str(target), "captions": len(exchanged.captions), **_plain(exchanged)})
    else:
        click.echo(f"{len(exchanged.captions)} captions of {folder}" + (f" -> {target}" if kind == "txt" else ""))
        _say(exchanged)
    ctx.exit(1 if exchanged.problems else 0)


@captions.command("import")
@click.argument("origin", metavar="SRC", type=click.Path(path_type=Path, exists=True))
@click.argument("dataset", metavar="DATASET", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--join-lines", is_flag=True, help="Make one caption of a file with one tag a line, or with wrapped lines.")
@click.option("--encoding", metavar="NAME", help="Of captions in the folder SRC that are not UTF-8, such as cp1250.")
@click.option("--dry-run", is_flag=True, help="Only say which captions would change.")
@json_option
@click.pass_context
def import_(
    ctx: click.Context, *, origin: Path, dataset: Path, join_lines: bool, encoding: str | None, dry_run: bool, as_json: bool
) -> None:
    """Take captions from SRC, a table or a folder, into what DATASET will be trained with.

    SRC is a .csv, .jsonl, .json or .parquet with file_name and text, or a folder with captions in whatever form
    export reads. What differs is noted in DATASET/decisions.jsonl, as an edit on the review page is, and written by
    the next datakit crop. The source of DATASET stays as it is.
    """
    import codecs

    from datakit.dataset.exchange import import_captions
    from datakit.dataset.origin import read_origin
    from datakit.errors import CaptionError, UsageError

    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise click.UsageError(f"encoding {encoding!r} is unknown: use a name such as cp1250, gbk or shift_jis") from None
    try:
        exchanged = import_captions(origin, dataset, joined=join_lines, encoding=encoding, dry_run=dry_run)
    except CaptionError as error:
        raise UsageError(str(error)) from None
    if as_json:
        print_json({"changed": exchanged.changed, "unknown": exchanged.unknown, **_plain(exchanged)})
    else:
        click.echo(f"{len(exchanged.changed)} captions {'would change' if dry_run else 'changed'} in {dataset}")
        for name in exchanged.changed[:_SHOWN]:
            click.echo(f"  {name}")
        if len(exchanged.changed) > _SHOWN:
            click.echo(f"  ... and {len(exchanged.changed) - _SHOWN} more")
        _say(exchanged)
        made_from = read_origin(dataset)
        if exchanged.changed and made_from and not dry_run:
            click.echo(f"to write them: datakit crop {made_from.source} {dataset}, with the options of before")
    ctx.exit(1 if exchanged.problems else 0)


def _say(exchanged: Exchanged) -> None:
    """Say what was found where, and what could not be used."""
    for note in exchanged.notes:
        click.echo(f"note: {note}")
    if exchanged.unknown:
        more = f" and {len(exchanged.unknown) - 3} more" if len(exchanged.unknown) > 3 else ""
        click.echo(f"note: no picture is called {', '.join(exchanged.unknown[:3])}{more}")
    for name, reason in exchanged.problems:
        click.echo(f"{name}: {reason}")


def _plain(exchanged: Exchanged) -> dict[str, object]:
    problems = [{"source": name, "reason": reason} for name, reason in exchanged.problems]
    return {"notes": exchanged.notes, "problems": problems}
