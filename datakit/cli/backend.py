"""The commands `datakit backend` and `check`: parse, call the audit and the trainer, print."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.findings import (
    named,
    plain,
    print_epoch,
    print_findings,
    print_grouped,
    print_refusal,
    print_written,
    replaced,
    start_of,
)
from datakit.cli.pipeline import only_checks, remember_stage
from datakit.cli.sections import CHOOSE, RUN, WRITE, SectionedCommand, section
from datakit.cli.shards import check_shards
from datakit.cli.shared import (
    Command,
    batching_options,
    chosen,
    cores,
    datasets_argument,
    family_option,
    json_option,
    overwrite_option,
    print_json,
    progress_bar,
    repeats_option,
    trainer_option,
    write_files,
)

if TYPE_CHECKING:
    from datakit.run.stage import Execution
    from datakit.trainers.backend import AuditOptions
    from datakit.trainers.leftovers import Leftover
    from datakit.trainers.protocol import BackendOptions
    from datakit.trainers.training import Batching

verbose_option = click.option("-v", "--verbose", is_flag=True, help="Name every file of a finding.")
fix_option = click.option(
    "--fix",
    is_flag=True,
    help="First mend captions (byte order marks, carriage returns, blanks, encoding) and take edited ones into the "
    "manifest. Writes to this dataset alone, never to the source.",
)


def looking_options(command: Command) -> Command:
    """Add how many processes look at pictures, and pass it on as ``execution``."""

    @section(RUN)
    @click.option("-j", "--jobs", type=click.IntRange(min=1), show_default="one a core", help="Worker processes.")
    @functools.wraps(command)
    def wrapped(*, jobs: int | None, **options: Any) -> Any:
        from datakit.run.stage import Execution

        return command(execution=Execution(jobs=jobs or cores(), progress=progress_bar), **options)

    return wrapped


def backend_options(command: Command) -> Command:
    """Add what decides which dataset file is written, and pass it on as ``options``."""

    @section(CHOOSE)
    @trainer_option
    @click.option(
        "--id",
        "names",
        multiple=True,
        metavar="NAME",
        help="Name of each dataset, in the same order; the content hash is added. [default: the folder's name]",
    )
    @repeats_option
    @family_option
    @click.option(
        "--caption-shuffle",
        type=click.IntRange(min=1),
        metavar="N",
        help="Let the trainer draw each caption from itself and N orders of it instead of writing copies; needs SimpleTuner 4.0.5 "
        "or later, which splits at commas only.",
    )
    @click.option(
        "--keep",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Leading tokens that --caption-shuffle leaves in place.",
    )
    @click.option(
        "--at",
        multiple=True,
        metavar="s3://BUCKET[/PREFIX]",
        help="Where each dataset was published as loose objects, in the same order: the trainer reads it there, and the folder "
        "proves it; needs SimpleTuner 4.10.1 or later, whose prefixes must begin with http, and credentials in its environment.",
    )
    @click.option(
        "--endpoint",
        metavar="URL",
        help="Of the object store of --at. [default: Amazon S3, in the region of AWS_DEFAULT_REGION]",
    )
    @click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set a key of SimpleTuner's image entry, in every one; values are JSON, text as it is; repeatable.",
    )
    @click.option(
        "--companion",
        "companions",
        multiple=True,
        metavar="NAME",
        help="What to give the trainer of the masks and control pictures that crop wrote, such as mask; none for none of them. "
        "[default: all that it takes]",
    )
    @click.option(
        "--batch-size",
        type=click.IntRange(1, 10_000),
        metavar="B",
        help="Pictures in one micro-batch on one GPU, for trainers whose dataset file says it. [default: 1]",
    )
    @functools.wraps(command)
    def wrapped(
        *,
        trainer: str,
        names: tuple[str, ...],
        repeats: tuple[int, ...],
        family: str | None,
        caption_shuffle: int | None,
        keep: int,
        at: tuple[str, ...],
        endpoint: str | None,
        settings: tuple[str, ...],
        companions: tuple[str, ...],
        batch_size: int | None,
        **options: Any,
    ) -> Any:
        from datakit.trainers.protocol import BackendOptions

        asked = BackendOptions(
            trainer, family, names, repeats, settings, caption_shuffle, keep, batch_size, at, endpoint, companions
        )
        return command(options=asked, **options)

    return wrapped


def audit_options(command: Command) -> Command:
    """Add what a dataset is held against, and pass it on as ``options``."""

    @repeats_option
    @batching_options
    @trainer_option
    @family_option
    @click.option("--trigger", metavar="WORD", help="A word or phrase that every caption must hold.")
    @click.option(
        "--tokenizer",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="A tokenizer.json, to count caption tokens exactly (needs the library tokenizers).",
    )
    @functools.wraps(command)
    def wrapped(
        *,
        repeats: tuple[int, ...],
        batching: Batching,
        trainer: str,
        family: str | None,
        trigger: str | None,
        tokenizer: Path | None,
        **options: Any,
    ) -> Any:
        from datakit.audit.wording import tokenizer_counter
        from datakit.trainers.backend import AuditOptions

        counter = tokenizer_counter(tokenizer) if tokenizer else None
        asked = AuditOptions(repeats, batching, family, trigger, counter, trainer)
        return command(options=asked, **options)

    return wrapped


@click.command(cls=SectionedCommand)
@datasets_argument
@section(WRITE)
@click.option(
    "--cache-root",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for the trainer's caches of latents and text embeddings, or for the views that hold them.",
)
@click.option("--output", metavar="FILE", show_default="as the trainer calls it", help="Where to write; - for stdout.")
@backend_options
@section(RUN)
@fix_option
@click.option(
    "--prune",
    is_flag=True,
    help="Delete what the trainer left of these datasets under other ids: first its scans in their folders, and once the file is "
    "written, views, latents and text embeddings of other content below --cache-root.",
)
@overwrite_option
@looking_options
@json_option
@verbose_option
@click.pass_context
def backend(
    ctx: click.Context,
    datasets: tuple[Path, ...],
    cache_root: Path,
    output: str | None,
    options: BackendOptions,
    fix: bool,
    prune: bool,
    overwrite: bool,
    execution: Execution,
    as_json: bool,
    verbose: bool,
) -> None:
    """Write a trainer's dataset file, so that it trains on exactly what was written.

    For each DATASET (a folder that crop or shuffle wrote; without one, what the last stage run from here wrote), in
    the form of --trainer: multidatabackend.json for SimpleTuner by default. Ids, caches and views carry a hash of the
    content: after any change the trainer starts new caches and never reads old latents. Paths are absolute.

    A trainer that keeps its caches beside the pictures, or reads one caption a picture, is given a view: a folder of
    hard links below --cache-root. The dataset itself stays as it is, and what the trainer writes lies in the view.

    Copies that shuffle wrote are files of their own and are not repeated. A picture with N captions is seen N times. Masks and
    control pictures that crop --companions wrote are named by the trainer's own keys, in views of their own.

    Caches and views of these datasets as they were or were called before are named with their size, and deleted with
    --prune. Those of other datasets, and whatever has no name as datakit gives it, stay.

    Nothing is written, and the exit code is 1, unless every file is as the manifest says and every size is
    proved to pass the trainer's resizing untouched.

    \b
    datakit backend --cache-root cache/
    datakit backend out/ --trainer kohya --cache-root cache/ --batch-size 4
    datakit backend person/ style/ --repeats 10 --repeats 1 --cache-root cache/ --model-family flux
    datakit backend out/ --cache-root cache/ --caption-shuffle 5 --keep 2 --set probability=0.5
    datakit backend out/ --cache-root cache/ --at s3://bucket --endpoint https://store.example
    """
    from datakit.dataset.origin import refuse_in_source
    from datakit.report import counted
    from datakit.trainers import trainer
    from datakit.trainers.backend import emit_backend, find_leftovers
    from datakit.trainers.leftovers import delete
    from datakit.trainers.making import make_view

    if only_checks():
        trainer(options.trainer).check_options(options)
        return
    output = output or trainer(options.trainer).file_name
    folders = _folders(datasets)
    if fix:
        refuse_in_source(cache_root, folders)
        _mend(folders, verbose)
    scans, caches = find_leftovers(folders, cache_root, options) if prune else ([], [])
    _say_deleted(delete(scans))
    emission = emit_backend(folders, cache_root, options, execution=execution)
    notes = [*emission.notes, *replaced(output, folders)]
    _say([leftover.describe() for leftover in emission.leftovers if leftover not in caches or not leftover.ours])
    if emission.content is None:
        _say(emission.notes)
        print_refusal(emission.findings, emission.changed, as_json, verbose)
        ctx.exit(1)
    for view in emission.views:
        done = "made" if make_view(view) else "using"
        click.echo(f"{done} {view.folder}/, a view of {counted(len(view.links), 'picture')}", err=True)
    if output == "-":
        click.echo(emission.content, nl=False)
    else:
        write_files([(Path(output), emission.content)], overwrite, folders, quiet=as_json)
        remember_stage("backend", folders, datasets=list(map(str, folders)), output=output)
    current = {view.folder for view in emission.views}
    _say_deleted(delete(each for each in caches if each.path not in current))  # no sooner: the file of before may name them
    if as_json and output != "-":
        summary = [{"id": name, "pictures": len(concept.records), "passes": concept.passes} for name, concept in emission.entries]
        written = {"written": output, "entries": summary, "findings": [], "changed": []}
        views = [str(view.folder) for view in emission.views]
        written |= {"family": emission.family, "provided": emission.provided, "views": views}
        print_json(written | {"command": start_of(emission, output)})
    else:
        print_written(emission, output, err=output == "-")
    _say([f"note: {each}" for each in notes])


@click.command(cls=SectionedCommand)
@datasets_argument
@section(CHOOSE)
@audit_options
@section(RUN)
@fix_option
@click.option("--verify", is_flag=True, help="Of shards: hash every tar instead of trusting its size.")
@looking_options
@json_option
@verbose_option
@click.pass_context
def check(
    ctx: click.Context,
    datasets: tuple[Path, ...],
    options: AuditOptions,
    fix: bool,
    execution: Execution,
    as_json: bool,
    verify: bool,
    verbose: bool,
) -> None:
    """Report what is wrong with a dataset, and what the training will do with it.

    Files: sizes, captions, encodings, names, alpha, orientation tags, depth, files that are damaged, gone, changed
    or unknown, an interrupted run, what an earlier training left. Content: duplicates and near-duplicates, within
    a dataset and between those named, blurred and enlarged pictures, captions that the text encoders cut
    (estimated without --tokenizer), a missing trigger word.
    Of datasets in shards: missing and damaged files, what was not made, faces cut, pictures of the same bytes.
    Training: micro-batches and optimizer steps of one epoch, padded samples, how many of several captions it shows,
    buckets too small for a batch and the cheapest ways out, and what crop --fill-batches would gain. Exit 0 where there is nothing to report, else 1.

    \b
    datakit check out/ --batch-size 6 --trigger ohwx
    datakit check out/ --fix
    """
    from datakit.report import counted
    from datakit.shards.summary import is_sharded
    from datakit.trainers import trainer
    from datakit.trainers.backend import audit_datasets

    folders = _folders(datasets)
    if any(map(is_sharded, folders)):
        if fix or not all(map(is_sharded, folders)):
            raise click.UsageError("datasets in shards are checked by themselves, and mended by the command that writes them")
        check_shards(ctx, folders, verify=verify, as_json=as_json, verbose=verbose)
    if fix:
        _mend(folders, verbose)
    audit = audit_datasets(folders, options, execution=execution)
    _say(audit.notes)
    findings, small = audit.findings, len(audit.too_small)
    if as_json:
        plain_findings = [plain(*pair) for pair in findings]
        print_json(
            {"findings": plain_findings, "training": audit.training.to_json(), "ways_out": audit.ways_out, "advice": audit.advice}
        )
    else:
        print_findings(findings, verbose)
        print_epoch(audit, trainer(options.trainer).too_small)
        click.echo(f"{counted(len(findings), 'finding')}, {counted(small, 'bucket')} too small" if findings or small else "clean")
    ctx.exit(1 if findings or small else 0)


def _folders(datasets: Sequence[Path]) -> list[Path]:
    """Return the datasets to use; where none is named, say so if there are copies of it that are now older."""
    from datakit.dataset.layout import shuffled
    from datakit.dataset.origin import read_origin

    folders = chosen(datasets)
    if not datasets:
        copies = shuffled(folders[0])
        origin = read_origin(copies)
        if origin is not None and origin.source == str(folders[0].resolve()):
            click.echo(f"{copies}/ was shuffled before that: run datakit shuffle again, or name it to use it", err=True)
    return folders


def _say(notes: Sequence[str]) -> None:
    for sentence in notes:
        click.echo(sentence, err=True)


def _say_deleted(leftovers: Sequence[Leftover]) -> None:
    for leftover in leftovers:
        click.echo(f"deleted {leftover.path}: {leftover.what}", err=True)


def _mend(folders: Sequence[Path], verbose: bool) -> None:
    from datakit.audit.mend import mend_captions
    from datakit.report import counted

    for folder in folders:
        mended = mend_captions(folder)
        for words, names in (("mended", mended.cleaned), ("took into the manifest, as edited by hand,", mended.adopted)):
            if names:
                click.echo(f"{folder}: {words} {counted(len(names), 'caption')}: {named(names, verbose)}", err=True)
        print_grouped([(f"{folder}: cannot be mended: {reason}", name, "") for name, reason in mended.left], verbose, err=True)
