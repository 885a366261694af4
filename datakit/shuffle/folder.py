"""Stage 2: write copies of each picture whose captions are shuffled, linked where nothing is augmented."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import median

from datakit.caption.captions import Caption, decode_caption
from datakit.caption.encodings import is_utf8
from datakit.caption.lines import likely_separator
from datakit.caption.tokens import Tokens, count_orders
from datakit.dataset.accompany import unused_companions
from datakit.dataset.captioned import CaptionedFolder, agreed_encoding
from datakit.dataset.manifest import MANIFEST, Record, read_manifest
from datakit.dataset.origin import Origin, read_origin, refuse_other_origin
from datakit.dataset.remembered import why_empty
from datakit.dataset.samples import (
    Found,
    Sample,
    caption_name,
    caption_of,
    copy_stems,
    output_stems,
    repeats_told,
    shared_stems,
)
from datakit.dataset.source import Source, read_caption_of
from datakit.dataset.store import Store
from datakit.errors import CaptionMissingError, NoPicturesError, SampleError
from datakit.libraries import check_opencv
from datakit.picture.formats import PICTURE_SUFFIXES
from datakit.report import Problem, Report, counted, few
from datakit.run.stage import Execution, Stage, run_stage
from datakit.run.task import Task
from datakit.shuffle.copies import Material, Workshop, augmented, linked, originals
from datakit.shuffle.variants import ShuffleOptions, Variant, tokens_of, variants_of


def shuffle_folder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: ShuffleOptions = ShuffleOptions(),
    *,
    execution: Execution = Execution(),
) -> Report:
    """Write copies of every captioned picture of a folder into a dataset, and report what was done.

    The order of a copy's tokens depends on the seed, the sample's id and the number of the copy alone. Only new
    and changed copies are made; see `datakit.run.stage`.

    Parameters
    ----------
    source, output
        The folder to read, never written to, and the dataset to write.
    options
        How many copies, and how they differ.
    execution
        Workers, limits, what may be replaced.

    Raises
    ------
    UsageError
        A folder or an option cannot be used.
    DatasetBusyError
        Another run is writing to ``output``.
    PlanError
        A line of a manifest cannot be used.
    """
    folder, target = Path(source), Path(output)
    opened = CaptionedFolder(folder)
    report = Report("shuffle", str(folder), str(target))
    opened.refuse_output(target)
    records = _records(folder)
    found = _find(opened, folder, records)
    if not execution.overwrite:
        refuse_other_origin(target, "shuffle", opened)
    if options.augment:
        check_opencv()
    planned = _plan(opened, found, options, report)
    origin = read_origin(folder)
    if not records:
        said = f"{folder} was not written by datakit crop: copies have the sizes of its pictures, which may be none that a trainer uses whole"
        report.notes.append(said)
    if origin and origin.stage == "shuffle":
        report.notes.append(
            f"{folder} is shuffled already: these are copies of its copies; to have others, shuffle {origin.source}"
        )
    uncropped = Path(origin.source) if origin and origin.stage == "crop" else None
    tasks = [
        _task(sample, variant, options.of(sample.id).key(), Material(variant, caption, records.get(sample.id), uncropped))
        for sample, caption, variants in planned
        for variant in variants
    ]
    with Store(target, overwrite=execution.overwrite, verify=execution.verify) as store:
        store.fingerprints.trust(folder)
        workshop = Workshop(folder, options, str(store.temporary), origin.background if origin else "white")
        stage = Stage(
            origin=Origin("shuffle", opened.identity),
            source=opened,
            maker=lambda: partial(augmented, workshop=workshop),
            make_light=partial(
                linked, workshop=workshop, original=originals(store, folder, records), fingerprints=store.fingerprints
            ),
            present={sample.id for sample in found.samples},
            unseen=[path for path, _ in found.refused],
        )
        run_stage(stage, store, tasks, execution, report)
    return report


def plan_shuffle(source: str | os.PathLike[str], options: ShuffleOptions = ShuffleOptions()) -> tuple[list[Variant], Report]:
    """Decide on every copy without writing anything; return them in the order of their sources.

    Raises
    ------
    UsageError
        The folder cannot be used.
    """
    report = Report("shuffle", str(source), "")
    opened = CaptionedFolder(source)
    planned = _plan(opened, _find(opened, Path(source), _records(Path(source))), options, report)
    variants = [variant for _, _, variants in planned for variant in variants]
    report.done = len(variants)
    report.sort()
    return variants, report


def _records(folder: Path) -> dict[str, Record]:
    """Return what is known of the pictures of a folder, by their names."""
    return {record.output: record for record in read_manifest(folder)} if (folder / MANIFEST).exists() else {}


def _find(opened: CaptionedFolder, folder: Path, records: Mapping[str, Record]) -> Found:
    """Find the samples of a folder, with the companions that its records tell; where there are none, say what its crop left out."""
    try:
        found = opened.find()
        known = {each.output for record in records.values() for each in record.companions}
        samples = (sample for sample in found.samples if sample.id not in known)
        return replace(
            found,
            samples=tuple(
                replace(sample, companions=tuple((each.name, each.output) for each in records[sample.id].companions))
                if sample.id in records
                else sample
                for sample in samples
            ),
            companions=tuple(name for name in found.companions if name not in known),
        )
    except NoPicturesError:
        if why := why_empty(folder):
            raise NoPicturesError(why) from None
        raise


def _plan(opened: Source, found: Found, options: ShuffleOptions, report: Report) -> list[tuple[Sample, Caption, list[Variant]]]:
    """Read every caption, decide on all copies, and fill in the report's table and notes."""
    report.refused += [Problem(*refusal, "listing") for refusal in found.refused]
    report.notes += (*found.notes, *unused_companions(found.companions))
    told = [] if options.repeats_from_folders else repeats_told(found.samples)
    if told:
        report.notes.append(f"folders that name a number of repeats, {few(told)}: --repeats-from-folders takes it")
    stems = output_stems(found.samples)
    shared = shared_stems(found.samples, stems)
    if shared:
        report.notes.append(
            f"{len(shared)} pictures share a name but for extension or case: their copies carry it: {few(shared)}"
        )
    most = max((options.of(sample.id).repeats for sample in found.samples), default=options.repeats)
    starts = dict(stems) if options.captions_only else copy_stems(stems, most)
    moved = [sample.id for sample in found.samples if not options.captions_only and starts[sample.id] != f"{stems[sample.id]}_"]
    if moved:
        names = ", ".join(f"{starts[sample]}1" for sample in moved[:3])
        report.notes.append(
            f"{counted(len(moved), 'picture')} with copies whose name another picture has: they are called {names} and so on"
        )
    report.notes += found.captions
    agreed = cache(partial(agreed_encoding, found.samples, opened))
    planned: list[tuple[Sample, Caption, list[Variant]]] = []
    read: list[Tokens] = []
    ran_out: list[str] = []
    for sample in found.samples:
        try:
            caption = _caption(sample, opened, agreed)
        except SampleError as error:
            report.refused.append(Problem.of(sample.id, error))
            continue
        lines = [tokens_of(line, options) for line in caption.lines]
        read += lines
        own = options.of(sample.id)
        ran_out += (
            sample.id for tokens in lines if count_orders(tokens.movable, own.repeats, pinned=tokens.pinned) < own.repeats
        )
        planned.append((sample, caption, variants_of(sample.id, starts[sample.id], lines, own)))
    variants = [variant for _, _, several in planned for variant in several]
    unflipped = [f"{variant.output} ({variant.unflipped})" for variant in variants if variant.unflipped]
    if unflipped:
        report.notes.append(
            f"{counted(len(unflipped), 'copy', 'copies')} not flipped, as their captions speak of writing (--flip-anyway): {few(unflipped)}"
        )
    movable = [len(tokens.movable) - len(tokens.pinned) for tokens in read]
    report.table = {
        "seed": options.seed,
        "samples": len(planned),
        "copies": len(variants),
        "distinct captions": len({line for variant in variants for line in variant.caption.split("\n") if line}),
        "captions read as": _styles(read),
        "movable tokens, least": min(movable, default=0),
        "movable tokens, median": float(median(movable)) if movable else 0.0,
        "captions whose orders ran out": len(ran_out),
    }
    if not options.keep_separator and any("|||" in token.text for tokens in read for token in tokens.whole if token.fixed):
        report.notes.append("captions hold |||, which keeps its place: with --keep-separator '|||' what is before it never moves")
    report.notes += _separators(planned, options)
    if ran_out:
        orders = "too few" if options.repeats_from_folders else f"fewer than {options.repeats}"
        report.notes.append(f"{orders} orders of their tokens exist, so some come twice: {few(ran_out)}")
    return planned


def _separators(planned: Sequence[tuple[Sample, Caption, object]], options: ShuffleOptions) -> list[str]:
    """Say which captions are one token because something else than commas seems to separate their tags."""
    files: dict[str, list[str]] = {}
    for sample, caption, _ in planned if options.splitting.separator is None else ():
        if len(caption.lines) and (sign := likely_separator(caption.lines[0])):
            files.setdefault(sign, []).append(sample.id)
    return [
        f"tags of {counted(len(names), 'picture')} seem to be separated by {sign!r}, and are one token: --separator {sign!r} "
        f"shuffles them: {few(names)}"
        for sign, names in files.items()
    ]


def _styles(read: Sequence[Tokens]) -> str:
    """Say how many captions were read as tags, how many as sentences, and how many hold both."""
    number = Counter(tokens.style for tokens in read)
    return ", ".join(f"{style} {number[style]}" for style in ("tags", "sentences", "both") if number[style]) or "none"


def _caption(sample: Sample, source: Source, agreed: Callable[[], str | None]) -> Caption:
    suffix = os.path.splitext(sample.id)[1].lower()
    if suffix not in PICTURE_SUFFIXES:
        raise SampleError(f"{suffix} is not what every trainer reads: run datakit crop first, which writes it as png")
    data = read_caption_of(sample, source)
    if sample.caption_id is None or data is None:
        raise CaptionMissingError("no caption beside it, in a table or in the picture: write one, or crop with --caption TEXT")
    name = caption_name(sample.caption_id)
    caption = decode_caption(data, name, None if is_utf8(data) else agreed())
    if not caption.lines:
        raise CaptionMissingError(f"caption {name} is empty: write one, or crop with --caption TEXT")
    return caption


def _task(sample: Sample, variant: Variant, key: str, material: Material) -> Task:
    return Task(
        sample,
        output=variant.output,
        caption_output=caption_of(variant.output),
        key=key,
        detail=material,
        light=not variant.augmentation,
    )
