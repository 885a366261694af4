"""``datakit shuffle``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.pipeline import only_checks, remember_stage
from datakit.cli.printing import print_report
from datakit.cli.sections import CHOOSE, SHOW, WRITE, SectionedCommand, section
from datakit.cli.shards import over_shards, print_run
from datakit.cli.shared import execution_options, say_using

if TYPE_CHECKING:
    from datakit.run.stage import Execution

_AUGMENT_HELP = """Change the pixels of copies 2 to N; strengths are optional and draw a value for each copy:

\b
flip=0.5        probability of mirroring; swaps left and right in the caption
rotate=3        degrees, either way, 0 to 45; takes the largest window inside, no border
crop=0.95       least share of each side that is kept, 0.5 to 1
hue=5           degrees on the colour wheel, either way, 0 to 180
saturation=0.1  share by which it is raised or lowered, 0 to 1
brightness=0.1  the same
contrast=0.1    the same
grayscale=0.05  probability of taking the colour out
blur=1          largest standard deviation in pixels, 0 to 10
noise=5         largest standard deviation in levels of 255, 0 to 50"""


@click.command(cls=SectionedCommand)
@click.argument("source", metavar="[SRC]", type=click.Path(path_type=Path), required=False)
@click.argument("output", metavar="[OUT]", type=click.Path(path_type=Path), required=False)
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Copies of each picture.")
@click.option(
    "--repeats-from-folders",
    is_flag=True,
    help="Take N from the picture's folder where that is named as kohya's trainer wants it: 10 for 10_name.",
)
@click.option(
    "--keep", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Leading tokens that never move."
)
@click.option("--keep-separator", metavar="TEXT", help="Tokens before this text never move, such as '|||'; it is left out.")
@click.option(
    "--separator", metavar="TEXT", help="What stands between tokens. [default: commas of any script, and the ends of sentences]"
)
@click.option(
    "--style",
    type=click.Choice(["auto", "tags", "sentences"]),
    default="auto",
    show_default=True,
    help="What captions are: tags between commas, sentences that move whole, or whatever each of them looks like.",
)
@click.option(
    "--prefix", default="", metavar="TEXT", help="Put before every caption that does not hold it, a trigger word for instance."
)
@click.option("--suffix", default="", metavar="TEXT", help="Put behind every caption that does not hold it.")
@click.option(
    "--drop-tokens",
    type=click.FloatRange(0, 1),
    default=0,
    metavar="P",
    help="Leave out each movable token with this probability.",
)
@click.option(
    "--drop-caption",
    type=click.FloatRange(0, 1),
    default=0,
    metavar="P",
    help="Empty the whole caption of a copy with this probability. SimpleTuner reads an empty .txt as no caption; "
    "kohya's sd-scripts stop at one, use their caption_dropout_rate.",
)
@click.option("--wildcards", is_flag=True, help="Choose one of {a|b} anew for each copy.")
@click.option("--shuffle-first", is_flag=True, help="Shuffle copy 1 too, which otherwise keeps its order.")
@section(WRITE)
@click.option(
    "--captions-only",
    is_flag=True,
    help="Write each picture once, with N captions as N lines of one .txt, so that a trainer encodes it once. SimpleTuner "
    "and OneTrainer draw one of the lines; kohya's sd-scripts do with enable_wildcard, otherwise they read the first alone.",
)
@section(CHOOSE)
@click.option("--augment", "augment_text", default="", metavar="NAME[=STRENGTH],...", help=_AUGMENT_HELP)
@click.option("--flip-anyway", is_flag=True, help="Mirror pictures whose captions speak of text, letters or a sign too.")
@section(WRITE)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of augmented jpg and webp.")
@click.option(
    "--link",
    type=click.Choice(["auto", "hard", "reflink", "symlink", "copy"]),
    default="auto",
    show_default=True,
    help="How copies that are not augmented are made; auto is the first that works of hard, reflink, copy. Editing a hard "
    "link in place edits the source too.",
)
@section(CHOOSE)
@click.option("--seed", type=int, default=42, show_default=True, help="Of all that is drawn.")
@section(SHOW)
@click.option("--dry-run", is_flag=True, help="Print every copy as a JSON line on stdout and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="List every warning and every problem.")
@execution_options
@click.pass_context
def shuffle(
    ctx: click.Context,
    *,
    source: Path | None,
    output: Path | None,
    repeats: int,
    repeats_from_folders: bool,
    keep: int,
    keep_separator: str | None,
    separator: str | None,
    style: str,
    prefix: str,
    suffix: str,
    drop_tokens: float,
    drop_caption: float,
    wildcards: bool,
    shuffle_first: bool,
    captions_only: bool,
    augment_text: str,
    flip_anyway: bool,
    quality: int,
    link: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
    execution: Execution,
) -> None:
    """Write N copies of each picture in SRC to OUT, each with its caption's tokens in another order.

    SRC is by default the dataset that was last written from this folder, OUT is SRC_shuffled. Tokens are the
    pieces of a caption between commas, and whole sentences; those behind the first --keep are shuffled, differently
    for each copy as long as there are orders left. Copy 1 keeps the text as it is. Groups such as (a, b:1.4) and
    quotations are never torn, BREAK keeps its place. Each line of a caption is a caption of its own. Copies cost next to no space: they are links, unless --augment changes their pixels. Run again, only new
    and changed copies are made.

    \b
    datakit shuffle --repeats 5 --keep 2
    datakit shuffle out/ --captions-only
    datakit shuffle shards/ more/ --captions-only     (of shards: no copies)
    datakit shuffle out/ copies/ --augment flip,rotate=3,brightness
    """
    from datakit.dataset.layout import shuffled
    from datakit.dataset.manifest import to_line
    from datakit.dataset.remembered import remember
    from datakit.dataset.source import open_source
    from datakit.picture.augment import parse_augmentations
    from datakit.shards.shuffle import shuffle_shards
    from datakit.shards.storage import address_of
    from datakit.shards.summary import is_sharded
    from datakit.shuffle.folder import plan_shuffle, shuffle_folder
    from datakit.shuffle.variants import ShuffleOptions

    options = ShuffleOptions(
        repeats=repeats,
        repeats_from_folders=repeats_from_folders,
        keep=keep,
        separator=separator,
        style=style,
        keep_separator=keep_separator,
        wildcards=wildcards,
        prefix=prefix,
        suffix=suffix,
        drop_tokens=drop_tokens,
        drop_caption=drop_caption,
        shuffle_first=shuffle_first,
        captions_only=captions_only,
        augment=parse_augmentations(augment_text),
        flip_anyway=flip_anyway,
        quality=quality,
        link=link,
        seed=seed,
    )
    if only_checks():
        if source and output:
            open_source(source).refuse_output(output)
        return
    dataset = source or _last()
    if dry_run:
        variants, report = plan_shuffle(dataset, options)
        for variant in () if execution.strict and report.exit_code else variants:
            click.echo(to_line(variant), nl=False)
        print_report(report, as_json, verbose, err=True)
    elif is_sharded(dataset):
        if output is None:
            raise click.UsageError("missing argument OUT: where to write the shards")
        print_run(
            ctx, shuffle_shards(address_of(dataset), address_of(output), options, execution=over_shards(execution)), as_json
        )
    else:
        target = output or shuffled(dataset)
        report = shuffle_folder(dataset, target, options, execution=execution)
        if not report.withheld:
            remember(Path.cwd(), "shuffle", target)
            remember_stage("shuffle", [target], source=str(dataset), output=str(target))
        print_report(report, as_json, verbose)
    ctx.exit(report.exit_code)


def _last() -> Path:
    """Return the dataset that the last stage run from this folder wrote, and say so.

    After a shuffle that is what was shuffled, so that the same command run again goes on where it stopped.
    """
    from datakit.dataset.origin import read_origin
    from datakit.dataset.remembered import last_dataset

    dataset, stage = last_dataset(Path.cwd())
    origin = read_origin(dataset) if stage == "shuffle" else None
    if origin and Path(origin.source).is_dir():
        dataset, stage = Path(origin.source), "shuffle, which read it"
    return say_using(dataset, stage)
