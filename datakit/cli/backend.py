"""The commands `datakit backend`, `check` and `verify`: parse, call the audit and the trainer, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.findings import (
    named,
    plain,
    print_epoch,
    print_findings,
    print_grouped,
    print_refusal,
    print_verdict,
    print_written,
)
from datakit.cli.shared import (
    batching_options,
    chosen,
    cores,
    datasets_argument,
    json_option,
    overwrite_option,
    print_json,
    progress_bar,
    repeats_option,
    write_files,
)

if TYPE_CHECKING:
    from datakit.audit.checks import Finding
    from datakit.audit.concept import Concept
    from datakit.audit.looks import Look
    from datakit.run.stage import Execution

family_option = click.option(
    "--model-family", "family", default="sd3", show_default=True, metavar="NAME", help="sd3, sdxl or flux."
)
jobs_option = click.option("-j", "--jobs", type=click.IntRange(min=1), show_default="one a core", help="Worker processes.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Name every file of a finding.")
fix_option = click.option(
    "--fix", is_flag=True,
    help="First mend captions (byte order marks, carriage returns, blanks, encoding) and take edited ones into the manifest. Writes to this dataset alone, never to the source.",
)  # fmt: skip


@click.command()
@datasets_argument
@click.option(
    "--cache-root",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for the trainer's caches of latents and text embeddings.",
)
@click.option(
    "--output", default="multidatabackend.json", show_default=True, metavar="FILE", help="Where to write; - for stdout."
)
@click.option("--trainer", default="simpletuner", show_default=True, metavar="NAME", help="Whose dataset config to write.")
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
    help="Let the trainer shuffle each caption into N orders instead of writing copies; needs SimpleTuner 4.0.5 or later.",
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
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of SimpleTuner's image entry, in every one; values are JSON, text as it is; repeatable.",
)
@fix_option
@overwrite_option
@jobs_option
@json_option
@verbose_option
@click.pass_context
def backend(
    ctx: click.Context, datasets: tuple[Path, ...], cache_root: Path, output: str, trainer: str, names: tuple[str, ...], repeats: tuple[int, ...], family: str,
    caption_shuffle: int | None, keep: int, settings: tuple[str, ...], fix: bool, overwrite: bool, jobs: int | None, as_json: bool, verbose: bool,
) -> None:  # fmt: skip
    """Write multidatabackend.json, so that SimpleTuner trains on exactly what was written.

    One image entry for each DATASET (a folder that crop or shuffle wrote; without one, what the last stage
    run from here wrote) and one entry for the text embeddings. Ids and cache folders carry a hash of the
    content: after any change the trainer starts new caches and never reads old latents. Paths are absolute.

    Copies that shuffle wrote are files of their own and get no repeats. A picture with N captions gets N - 1
    (SimpleTuner counts extra passes), so that each is seen N times.

    Nothing is written, and the exit code is 1, unless every file is as the manifest says and every size is
    proved to pass SimpleTuner's resizing untouched.

    \b
    datakit backend --cache-root cache/
    datakit backend person/ style/ --repeats 10 --repeats 1 --cache-root cache/ --model-family flux
    datakit backend out/ --cache-root cache/ --caption-shuffle 5 --keep 2 --set probability=0.5
    """
    from datakit.audit.concept import read_concepts
    from datakit.dataset.origin import refuse_in_source
    from datakit.trainers import trainer as trainer_called
    from datakit.trainers.simpletuner.backend import changed_sizes
    from datakit.trainers.simpletuner.entry import CaptionShuffle

    written_by = trainer_called(trainer)
    folders = _folders(datasets)
    refuse_in_source(cache_root, folders)
    if fix:
        _mend(folders, verbose)
    concepts = read_concepts(folders, names, repeats)
    _say_behind(folders, concepts)
    shuffle = None if caption_shuffle is None else CaptionShuffle(count=caption_shuffle, position_start=keep)
    entries = written_by.emit(concepts, cache_root, family, settings, shuffle)
    findings = [(concept, finding) for concept in concepts for finding in _look(concept, jobs)[0]]
    changed = changed_sizes(entries, concepts)
    if findings or changed:
        print_refusal(findings, changed, as_json, verbose)
        ctx.exit(1)
    content = written_by.to_json(entries)
    if output == "-":
        click.echo(content, nl=False)
    else:
        write_files([(Path(output), content)], overwrite, folders, quiet=as_json)
    written = [(entry.id, concept) for entry, concept in zip(entries, concepts, strict=False)]
    if as_json and output != "-":
        summary = [{"id": name, "pictures": len(concept.records), "passes": concept.passes} for name, concept in written]
        print_json({"written": output, "entries": summary, "findings": [], "changed": []})
    else:
        print_written(written, shuffled=shuffle is not None, err=output == "-")


@click.command()
@datasets_argument
@repeats_option
@batching_options
@family_option
@click.option("--trigger", metavar="WORD", help="A word or phrase that every caption must hold.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A tokenizer.json, to count caption tokens exactly (needs the library tokenizers).",
)
@fix_option
@jobs_option
@json_option
@verbose_option
@click.pass_context
def check(
    ctx: click.Context, datasets: tuple[Path, ...], repeats: tuple[int, ...], batch_size: int, gpus: int, accumulate: int, family: str, trigger: str | None,
    tokenizer: Path | None, fix: bool, jobs: int | None, as_json: bool, verbose: bool,
) -> None:  # fmt: skip
    """Report what is wrong with a dataset, and what the training will do with it.

    Files: sizes, captions, encodings, names, alpha, orientation tags, depth, files that are damaged, gone, changed
    or unknown, an interrupted run, what an earlier training left. Content: duplicates and near-duplicates, within
    a dataset and between those named, blurred and enlarged pictures, captions that the text encoders cut
    (estimated without --tokenizer), a missing trigger word.
    Training: micro-batches and optimizer steps of one epoch, padded samples, buckets too small for a batch
    and the cheapest ways out. Exit 0 where there is nothing to report, else 1.

    \b
    datakit check out/ --batch-size 6 --trigger ohwx
    datakit check out/ --fix
    """
    from datakit.audit.concept import read_concepts
    from datakit.audit.likeness import find_likeness
    from datakit.audit.wording import check_wording, tokenizer_counter
    from datakit.errors import UsageError
    from datakit.report import counted
    from datakit.trainers.simpletuner.backend import FAMILIES
    from datakit.trainers.simpletuner.steps import Batching, concept_loads, plan_training, ways_out

    if family not in FAMILIES:
        raise UsageError(f"model family {family!r} is not known: use one of {' '.join(FAMILIES)}")
    batching = Batching(batch_size, gpus, accumulate)
    counter = tokenizer_counter(tokenizer) if tokenizer else None
    folders = _folders(datasets)
    if fix:
        _mend(folders, verbose)
    concepts = read_concepts(folders, repeats=repeats)
    _say_behind(folders, concepts)
    looked = [_look(concept, jobs, compared=True) for concept in concepts]
    alike = find_likeness(concepts, [looks for _, looks in looked])
    findings = [
        (concept, finding)
        for concept, (found, _), similar in zip(concepts, looked, alike, strict=True)
        for finding in (*found, *similar, *check_wording(concept, family, trigger, counter), *_enlarged(concept))
    ]
    loads = concept_loads(concepts, batching)
    training = plan_training([(len(concept.records), concept.passes) for concept in concepts], batching, epochs=1.0, loads=loads)
    ways = ways_out(loads, batching)
    small = sum(load.too_small for load in loads)
    if as_json:
        print_json({"findings": [plain(*pair) for pair in findings], "training": training.to_json(), "ways_out": ways})
    else:
        print_findings(findings, verbose)
        print_epoch(concepts, training, ways)
        click.echo(f"{counted(len(findings), 'finding')}, {counted(small, 'bucket')} too small" if findings or small else "clean")
    ctx.exit(1 if findings or small else 0)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="multidatabackend.json")
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="RELEASE",
    help="current (3.1.6 and 4.8) or 2024-10 (the recipe's commit); repeatable. [default: both]",
)
@jobs_option
@json_option
@verbose_option
@click.pass_context
def verify(ctx: click.Context, file: Path, releases: tuple[str, ...], jobs: int | None, as_json: bool, verbose: bool) -> None:
    """Prove that SimpleTuner trains every picture of a dataset config as written.

    Decodes each picture of FILE (multidatabackend.json by default, whoever wrote it), checks it and its caption
    as `datakit backend` does, replays the trainer's bucket, resize and crop arithmetic, and names what would be
    resized, cropped, dropped, not seen or refused. Once training has started, the aspect_ratio_bucket files that
    it wrote are compared with the folder, and what it lost is named. Exit 0 proved, 1 not.

    \b
    datakit verify
    datakit verify multidatabackend.json --release current --json
    """
    from datakit.errors import UsageError
    from datakit.trainers.simpletuner.replay import RELEASES
    from datakit.trainers.simpletuner.verify import verify_config

    unknown = [release for release in releases if release not in RELEASES]
    if unknown:
        raise UsageError(f"release {unknown[0]!r} is not known: use {' or '.join(RELEASES)}")
    verdict = verify_config(file, releases or tuple(RELEASES), _execution(jobs))
    if as_json:
        print_json(verdict.to_json())
    else:
        print_verdict(verdict, verbose)
    ctx.exit(1 if verdict.faults else 0)


def _folders(datasets: Sequence[Path]) -> list[Path]:
    """Return the datasets to use; where none is named, say so if there are copies of it that are now older."""
    from datakit.dataset.origin import read_origin

    folders = chosen(datasets)
    if not datasets:
        copies = folders[0].with_name(f"{folders[0].resolve().name}_shuffled")
        origin = read_origin(copies)
        if origin is not None and origin.source == str(folders[0].resolve()):
            click.echo(f"{copies}/ was shuffled before that: run datakit shuffle again, or name it to use it", err=True)
    return folders


def _say_behind(folders: Sequence[Path], concepts: Sequence[Concept]) -> None:
    """Say on stderr what the datasets do not show yet."""
    from datakit.audit.freshness import behind

    for folder, concept in zip(folders, concepts, strict=True):
        for sentence in behind(folder, concept.records):
            click.echo(sentence, err=True)


def _execution(jobs: int | None) -> Execution:
    from datakit.run.stage import Execution

    return Execution(jobs=jobs or cores(), progress=progress_bar)


def _look(concept: Concept, jobs: int | None, compared: bool = False) -> tuple[list[Finding], dict[str, Look]]:
    """Look at every file of a dataset; return what is wrong with it, and what was seen of its pictures."""
    from datakit.audit.checks import check_dataset, list_files
    from datakit.audit.likeness import compared_names
    from datakit.audit.listed import stale_files
    from datakit.audit.looks import look_at_all

    files = list_files(concept.folder)
    looks = look_at_all(concept.folder, files, _execution(jobs), compared_names(concept) if compared else frozenset())
    return check_dataset(concept, files, looks, stale_files(concept.folder, concept.id)), looks


def _enlarged(concept: Concept) -> list[Finding]:
    from datakit.audit.checks import Finding
    from datakit.sizes import ENLARGED

    remedy = "take a larger source, or leave it out"
    return [
        Finding("upscaled", record.output, "enlarged", remedy, f"{record.scale:.2f} times", refused=False)
        for record in concept.originals
        if record.scale is not None and record.scale > ENLARGED
    ]


def _mend(folders: Sequence[Path], verbose: bool) -> None:
    from datakit.audit.mend import mend_captions
    from datakit.report import counted

    for folder in folders:
        mended = mend_captions(folder)
        for words, names in (("mended", mended.cleaned), ("took into the manifest, as edited by hand,", mended.adopted)):
            if names:
                click.echo(f"{folder}: {words} {counted(len(names), 'caption')}: {named(names, verbose)}", err=True)
        print_grouped([(f"{folder}: cannot be mended: {reason}", name, "") for name, reason in mended.left], verbose, err=True)
