"""``datakit captions``: out into a table, back into a dataset, and what they will teach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.sections import RUN, SHOW, SectionedGroup, section
from datakit.cli.shared import json_option, overwrite_option, print_json, write_files

if TYPE_CHECKING:
    from datakit.audit.captions import CaptionAudit
    from datakit.audit.teaching import Counted
    from datakit.dataset.exchange import Exchanged

_SHOWN = 20


class _ImportsByDefault(SectionedGroup):
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


@captions.command("export", short_help="Write captions to a table or to .txt files.")
@click.argument("folder", metavar="SRC", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@overwrite_option
@json_option
@click.pass_context
def export(ctx: click.Context, *, folder: Path, target: Path, overwrite: bool, as_json: bool) -> None:
    """Write the captions of a folder or a dataset to TARGET: a .csv or .jsonl table, or a folder of .txt files.

    Read are a.txt, else a.caption, a.tags, a.json; else metadata.jsonl, .csv or .parquet, captions.json, kohya's
    meta_cap.json; else the prompt or the description inside the picture. Nothing in SRC is changed.

    \b
    datakit captions export out/ captions.csv
    datakit captions export src/ texts/
    """
    from datakit.dataset.exchange import FORMATS, export_captions, written
    from datakit.errors import UsageError
    from datakit.report import counted

    kind = target.suffix[1:].lower() or "txt"
    if kind not in FORMATS:
        raise click.UsageError(f"{target}: the ending {target.suffix} is unknown: use .csv, .jsonl, or a folder for .txt files")
    if target.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{target} would lie in {folder}, where nothing is changed: write it elsewhere")
    exchanged = export_captions(folder)
    write_files(written(exchanged.captions, kind, target), overwrite, [folder], quiet=as_json or kind == "txt")
    number = sum(map(bool, exchanged.captions.values()))
    if as_json:
        print_json({"written": str(target), "captions": number, **_plain(exchanged)})
    else:
        without = len(exchanged.captions) - number
        more = f", and {counted(without, 'picture')} without" if without else ""
        click.echo(f"{counted(number, 'caption')} of {folder}{f' -> {target}' if kind == 'txt' else ''}{more}")
        _say(exchanged)
    ctx.exit(1 if exchanged.problems else 0)


@captions.command("import", short_help="Take captions into a dataset.")
@click.argument("origin", metavar="SRC", type=click.Path(path_type=Path, exists=True))
@click.argument("dataset", metavar="DATASET", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--join-lines", is_flag=True, help="Make one caption of a file with one tag a line, or with wrapped lines.")
@click.option("--encoding", metavar="NAME", help="Of captions in the folder SRC that are not UTF-8, such as cp1250.")
@section(SHOW)
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

    \b
    datakit captions import captions.csv out/
    datakit captions import src/ out/ --join-lines --dry-run
    """
    import codecs

    from datakit.dataset.exchange import import_captions
    from datakit.dataset.origin import read_origin
    from datakit.errors import CaptionError, UsageError
    from datakit.report import counted

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
        click.echo(f"{counted(len(exchanged.changed), 'caption')} {'would change' if dry_run else 'changed'} in {dataset}")
        for name in exchanged.changed[:_SHOWN]:
            click.echo(f"  {name}")
        if len(exchanged.changed) > _SHOWN:
            click.echo(f"  ... and {len(exchanged.changed) - _SHOWN} more")
        _say(exchanged)
        made_from = read_origin(dataset)
        if exchanged.changed and made_from and not dry_run:
            click.echo(f"to write them: datakit crop {made_from.source} {dataset}, with the options of before")
    ctx.exit(1 if exchanged.problems else 0)


@captions.command("audit", short_help="Tell what captions will teach.")
@click.argument("dataset", metavar="[DATASET]", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@click.option("--trigger", default="", metavar="WORDS", help="What calls it. [default: what nearly all captions begin with]")
@click.option(
    "--class", "class_word", default="", metavar="WORDS", help="What it is, such as woman: meant to stand in every caption."
)
@click.option("--fuse", default="", metavar="WORDS,...", help="What else is meant to be part of it.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Foretell a shuffle that keeps N tokens in front.")
@click.option("--drop-tokens", type=click.FloatRange(0, 1), default=0, metavar="P", help="Foretell one that leaves tokens out.")
@click.option("--separator", metavar="TEXT", help="What stands between tokens, as for shuffle.")
@click.option(
    "--style", type=click.Choice(["auto", "tags", "sentences"]), default="auto", show_default=True, help="As for shuffle."
)
@click.option(
    "--tokenizer", type=click.Path(path_type=Path, exists=True), metavar="FILE", help="Count exactly, by a tokenizer.json."
)
@section(SHOW)
@click.option("--top", type=click.IntRange(min=0), default=30, show_default=True, metavar="N", help="Words and phrases to list.")
@section(RUN)
@click.option("-j", "--jobs", type=click.IntRange(min=1), show_default="one a core", help="Worker processes.")
@json_option
@click.option("-v", "--verbose", is_flag=True, help="List every file and every word.")
def audit(
    *,
    dataset: Path | None,
    trigger: str,
    class_word: str,
    fuse: str,
    keep: int | None,
    drop_tokens: float,
    separator: str | None,
    style: str,
    tokenizer: Path | None,
    top: int,
    jobs: int | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Tell what the captions of DATASET will teach, before anything is trained.

    In how many captions does each word stand, in how many without the trigger, and in how many does CLIP read it, which
    sees 75 tokenizer tokens? What stands in over 85 % becomes part of the trigger. Named too are slips in the
    trigger, captions that say other than what is known of their picture, and captions that several pictures share.

    \b
    datakit captions audit out/ --trigger ohwx --class woman --fuse "red hair"
    datakit captions audit out/ --keep 1 --drop-tokens 0.1
    """
    from datakit.audit.captions import AuditedBy, audit_captions, plain
    from datakit.audit.teaching import Planned
    from datakit.audit.wording import estimate_tokens, tokenizer_counter
    from datakit.caption.tokens import Splitting
    from datakit.cli.shared import cores, progress_bar
    from datakit.run.stage import Execution

    planned = None if keep is None and not drop_tokens else Planned(keep or 0, drop_tokens)
    how = AuditedBy(
        trigger=trigger.strip(),
        meant=(class_word, fuse),
        planned=planned,
        splitting=Splitting(separator, style),
        measure=tokenizer_counter(tokenizer) if tokenizer else estimate_tokens,
    )
    folder = dataset or _last()
    found = audit_captions(folder, how, Execution(jobs=jobs or cores(), progress=progress_bar))
    if as_json:
        print_json({"dataset": str(folder), **plain(found, top)})
    else:
        _table(folder, found, top, verbose, "" if tokenizer else "about ")


def _last() -> Path:
    """Return the dataset that the last stage run from this folder wrote, and say so, and whether these are copies."""
    from datakit.cli.shared import say_using
    from datakit.dataset.origin import read_origin
    from datakit.dataset.remembered import last_dataset

    dataset, stage = last_dataset(Path.cwd())
    origin = read_origin(dataset) if stage == "shuffle" else None
    copies = f", so each copy counts; what it read is {origin.source}" if origin else ""
    return say_using(dataset, f"{stage}{copies}")


def _table(folder: Path, found: CaptionAudit, top: int, verbose: bool, about: str) -> None:
    """Print an audit for people."""
    counted = found.counted
    styles = ", ".join(f"{style} {number}" for style, number in sorted(counted.styles.items(), key=lambda item: -item[1]))
    click.echo(f"{folder}: {counted.captions} captions ({styles})" if counted.captions else f"{folder}: no captions")
    if found.trigger:
        guessed = ", which nearly all captions begin with (--trigger says another)" if found.guessed else ""
        click.echo(f"trigger {found.trigger!r}: in {counted.triggered} captions{guessed}")
    elif counted.captions:
        click.echo("no trigger: nearly all captions begin otherwise (--trigger says one)")
    listed = counted.commonest(top)
    if listed:
        click.echo("  share  captions  without trigger  read by CLIP  words")
    for each in listed:
        alone = str(each.alone) if found.trigger else "-"
        click.echo(f"  {each.share:5.0%}  {each.count:8}  {alone:>15}  {each.seen:12.0%}  {each.text}")
    if counted.captions:
        _lengths(counted, verbose, about)
    for name, reason in found.unread:
        click.echo(f"{name}: {reason}")
    click.echo(f"{len(found.remarks)} to look at" + (":" if found.remarks else ""))
    for remark in found.remarks:
        files = remark.files if verbose else remark.files[:3]
        more = ", ..." if len(files) < len(remark.files) else ""
        click.echo(f"  {remark.sentence}" + (f": {', '.join(files)}{more}" if files else ""))
        click.echo(f"    {remark.cure}")


def _lengths(counted: Counted, verbose: bool, about: str) -> None:
    """Print how long captions are, and what is said once."""
    from datakit.audit.teaching import LIMITS

    cut = ", ".join(f"{counted.longer_than(limit)} for {name} ({limit})" for name, limit in LIMITS.items())
    longest = max(counted.lengths, default=0)
    click.echo(f"longest caption: {about}{longest} tokenizer tokens; too long: {cut}")
    once = counted.once()
    shown = ", ".join(once if verbose else once[:_SHOWN]) + (", ..." if len(once) > _SHOWN and not verbose else "")
    click.echo(f"words in the captions of one picture only: {len(once)}" + (f" ({shown})" if once else ""))


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
