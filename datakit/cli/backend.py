"""The commands `datakit backend`, `check` and `verify`: parse, call the backend package, print."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.config import (
    batching_options,
    chosen,
    datasets_argument,
    json_option,
    overwrite_option,
    repeats_option,
    write_files,
)
from datakit.cli.shared import print_json

if TYPE_CHECKING:
    from datakit.backend.checks import Finding
    from datakit.backend.concept import Concept

# Lines printed of one kind of finding; --json prints all.
_SHOWN = 10
# Below, a scale above 1 only comes from rounding a window to whole pixels.
_ENLARGED = 1.01

family_option = click.option(
    "--model-family", "family", default="sd3", show_default=True, metavar="NAME", help="sd3, sdxl or flux."
)
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
    help="Set a key of every image entry; values are JSON, text as it is; repeatable.",
)
@fix_option
@overwrite_option
@json_option
@click.pass_context
def backend(
    ctx: click.Context, datasets: tuple[Path, ...], cache_root: Path, output: str, trainer: str, names: tuple[str, ...], repeats: tuple[int, ...], family: str,
    caption_shuffle: int | None, keep: int, settings: tuple[str, ...], fix: bool, overwrite: bool, as_json: bool,
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
    from datakit.backend import BACKENDS
    from datakit.backend.concept import read_concepts
    from datakit.backend.simpletuner import CAPTION_SHUFFLE_SINCE, CaptionShuffle, changed_sizes
    from datakit.errors import UsageError

    if trainer not in BACKENDS:
        raise UsageError(f"trainer {trainer!r} is not known: use one of {' '.join(BACKENDS)}")
    emit, to_json = BACKENDS[trainer]
    folders = chosen(datasets)
    if fix:
        _mend(folders)
    concepts = read_concepts(folders, names, repeats)
    shuffle = None if caption_shuffle is None else CaptionShuffle(count=caption_shuffle, position_start=keep)
    entries = emit(concepts, cache_root, family, settings, shuffle)
    findings = [(concept, finding) for concept in concepts for finding in _check_files(concept)]
    changed = changed_sizes(entries, concepts)
    if findings or changed:
        if as_json:
            print_json({"written": None, "findings": [_plain(*pair) for pair in findings], "changed": changed})
        else:
            _print_findings(findings, err=True)
            for sentence in changed:
                click.echo(sentence, err=True)
            click.echo(f"nothing written: {len(findings) + len(changed)} findings", err=True)
        ctx.exit(1)
    content = to_json(entries)
    if output == "-":
        click.echo(content, nl=False)
    else:
        write_files([(Path(output), content)], overwrite, folders, quiet=as_json)
    summary = [(entry.id, concept) for entry, concept in zip(entries, concepts, strict=False)]
    if as_json and output != "-":
        print_json(
            {
                "written": output,
                "entries": [{"id": name, "pictures": len(one.records), "passes": one.passes} for name, one in summary],
                "findings": [],
                "changed": [],
            }
        )
        return
    for name, concept in summary:
        often = "once" if concept.passes == 1 else f"{concept.passes} times"
        click.echo(
            f"{name}: {len(concept.records)} pictures in {len(concept.buckets)} buckets, each file seen {often} an epoch",
            err=output == "-",
        )
        for note in concept.notes:
            click.echo(f"  {note}", err=output == "-")
    if shuffle is not None:
        click.echo(
            f"caption_shuffle needs SimpleTuner {CAPTION_SHUFFLE_SINCE} or later; earlier ones ignore it without a word", err=True
        )
    click.echo("proved: every picture is trained pixel by pixel as written", err=output == "-")


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
@json_option
@click.pass_context
def check(
    ctx: click.Context, datasets: tuple[Path, ...], repeats: tuple[int, ...], batch_size: int, gpus: int, accumulate: int, family: str, trigger: str | None,
    tokenizer: Path | None, fix: bool, as_json: bool,
) -> None:  # fmt: skip
    """Report what is wrong with a dataset, and what the training will do with it.

    Files: sizes, captions, encodings, names, alpha, orientation tags, depth, files that are gone, changed or
    unknown, what an earlier training left. Content: duplicates, near-duplicates, blurred and enlarged
    pictures, captions that the text encoders cut (estimated without --tokenizer), a missing trigger word.
    Training: micro-batches and optimizer steps of one epoch, padded samples, buckets too small for a batch
    and the cheapest ways out. Exit 0 where there is nothing to report, else 1.

    \b
    datakit check out/ --batch-size 6 --trigger ohwx
    datakit check out/ --fix
    """
    from datakit.backend.concept import read_concepts
    from datakit.backend.likeness import find_likeness
    from datakit.backend.simpletuner import FAMILIES
    from datakit.backend.training import Batching, concept_loads, plan_training, ways_out
    from datakit.backend.wording import check_wording, tokenizer_counter
    from datakit.errors import UsageError

    if family not in FAMILIES:
        raise UsageError(f"model family {family!r} is not known: use one of {' '.join(FAMILIES)}")
    batching = Batching(batch_size, gpus, accumulate)
    counter = tokenizer_counter(tokenizer) if tokenizer else None
    folders = chosen(datasets)
    if fix:
        _mend(folders)
    concepts = read_concepts(folders, repeats=repeats)
    findings: list[tuple[Concept, Finding]] = []
    for concept in concepts:
        found = _check_files(concept)
        with _progress(len(concept.originals), "looking at pictures") as bar:
            found += find_likeness(concept, bar.update)
        found += [*check_wording(concept, family, trigger, counter), *_enlarged(concept)]
        findings += [(concept, finding) for finding in found]
    loads = concept_loads(concepts, batching)
    training = plan_training([(len(concept.records), concept.passes) for concept in concepts], batching, epochs=1.0, loads=loads)
    ways = ways_out(loads, batching)
    if as_json:
        print_json({"findings": [_plain(*pair) for pair in findings], "training": training.to_json(), "ways_out": ways})
    else:
        _print_findings(findings)
        _print_epoch(concepts, training.real_steps_per_epoch, loads)
        if ways:
            click.echo(
                "buckets too small for one optimizer step; SimpleTuner stops, or drops them where a minimum size is set. Ways out:"
            )
            for way in ways:
                click.echo(f"  {way}")
        small = sum(load.too_small for load in loads)
        click.echo(f"{len(findings)} findings, {small} buckets too small" if findings or small else "clean")
    ctx.exit(1 if findings or ways else 0)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="multidatabackend.json")
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="RELEASE",
    help="current (3.1.6 and 4.8) or 2024-10 (the recipe's commit); repeatable. [default: both]",
)
@json_option
@click.pass_context
def verify(ctx: click.Context, file: Path, releases: tuple[str, ...], as_json: bool) -> None:
    """Prove that SimpleTuner trains every picture of a dataset config as written.

    Replays its bucket, resize and crop arithmetic for each picture of FILE (multidatabackend.json by default,
    whoever wrote it) and names those that would be resized, cropped, dropped or not seen. Once training has
    started, the aspect_ratio_bucket files that it wrote are compared with the folder, and what it lost is
    named. Exit 0 proved, 1 not.

    \b
    datakit verify
    datakit verify multidatabackend.json --release current --json
    """
    from datakit.backend.replay import RELEASES
    from datakit.backend.verify import verify_config
    from datakit.errors import UsageError

    unknown = [release for release in releases if release not in RELEASES]
    if unknown:
        raise UsageError(f"release {unknown[0]!r} is not known: use {' or '.join(RELEASES)}")
    verdict = verify_config(file, releases or tuple(RELEASES))
    if as_json:
        print_json(verdict.to_json())
    else:
        for name, count in verdict.pictures.items():
            buckets = ", ".join(f"{bucket}: {number}" for bucket, number in sorted(verdict.buckets[name].items()))
            click.echo(f"{name}: {count} pictures ({buckets})")
        for note in verdict.notes:
            click.echo(f"  {note}")
        for fault in verdict.faults:
            click.echo(str(fault))
        click.echo(
            f"not proved: {len(verdict.faults)} faults"
            if verdict.faults
            else "proved: every picture is trained pixel by pixel as written"
        )
    ctx.exit(1 if verdict.faults else 0)


def _check_files(concept: Concept) -> list[Finding]:
    from datakit.backend.checks import check_dataset
    from datakit.backend.simpletuner import stale_files

    with _progress(len(concept.records), "checking files") as bar:
        return check_dataset(concept, stale_files(concept), bar.update)


def _enlarged(concept: Concept) -> list[Finding]:
    from datakit.backend.checks import Finding

    return [
        Finding(
            "upscaled",
            record.output,
            f"was enlarged {record.scale:.2f} times",
            "take a larger source, or leave it out",
            refused=False,
        )
        for record in concept.originals
        if record.scale is not None and record.scale > _ENLARGED
    ]


def _mend(folders: Sequence[Path]) -> None:
    from datakit.backend.mend import mend_captions

    for folder in folders:
        mended = mend_captions(folder)
        for words, names in (("mended", mended.cleaned), ("took into the manifest, as edited by hand,", mended.adopted)):
            if names:
                click.echo(
                    f"{folder}: {words} {len(names)} captions: {' '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}",
                    err=True,
                )
        for name, reason in mended.left:
            click.echo(f"{folder}: {name} cannot be mended: {reason}", err=True)


def _print_findings(findings: Sequence[tuple[Concept, Finding]], err: bool = False) -> None:
    """Print findings by kind, the first ones of each."""
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for concept, finding in findings:
        kinds[concept.name, finding.kind].append(finding)
    for (name, _), group in kinds.items():
        for finding in group[:_SHOWN]:
            click.echo(f"{name}: {finding}", err=err)
        if len(group) > _SHOWN:
            click.echo(f"{name}: and {len(group) - _SHOWN} more of this kind (--json lists all)", err=err)


def _print_epoch(concepts: Sequence[Concept], steps_an_epoch: int, loads: Sequence[Any]) -> None:
    for concept in concepts:
        for note in concept.notes:
            click.echo(f"{concept.name}: {note}")
    for load in loads:
        mark = "  too small" if load.too_small else ""
        click.echo(
            f"{load.concept}: {load.bucket!s:>9} {load.pictures:>6} pictures x {load.passes}: {load.real} micro-batches, {load.padded} padded samples{mark}"
        )
    click.echo(f"one real epoch takes {steps_an_epoch} optimizer steps")


def _plain(concept: Concept, finding: Finding) -> dict[str, Any]:
    names = ("kind", "path", "problem", "remedy", "refused")
    return {"dataset": str(concept.folder)} | {name: getattr(finding, name) for name in names}


def _progress(total: int, what: str) -> AbstractContextManager[Any]:
    """Return a progress bar on stderr, none where that is no terminal."""
    from tqdm import tqdm

    bar: AbstractContextManager[Any] = tqdm(total=total, desc=what, unit="picture", disable=None, leave=False)
    return bar
