"""What the commands share: options, how a run is executed, its progress, its report, and files written all or none."""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.trainers import DEFAULT, TRAINERS

if TYPE_CHECKING:
    from datakit.report import Problem, Report

Command = Callable[..., Any]

# Lines printed of a list, and of warnings, which are counted where there are more; -v prints all.
_SHOWN, _FEW = 20, 3
# Unicode categories of what moves a terminal's cursor, begins a line, or is no character.
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")

datasets_argument = click.argument("datasets", nargs=-1, metavar="[DATASET]...", type=click.Path(path_type=Path, file_okay=False))
repeats_option = click.option(
    "--repeats", type=click.IntRange(1, 1_000_000), multiple=True, metavar="N",
    help="Times each source picture is seen in one epoch in all, 1 = once; once for all datasets or once for each. [default: as the dataset was written]",
)  # fmt: skip
trainer_option = click.option(
    "--trainer",
    type=click.Choice(list(TRAINERS)),
    default=DEFAULT,
    show_default=True,
    metavar="NAME",
    help=f"Who is to train: {', '.join(TRAINERS)}.",
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files that datakit did not write, or that were edited since."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")


def batching_options(command: Command) -> Command:
    """Add --batch-size, --gpus and --accumulate to a command, and pass them on as ``batching``."""

    @functools.wraps(command)
    def wrapped(*, batch_size: int, gpus: int, accumulate: int, **options: Any) -> Any:
        from datakit.trainers.training import Batching

        return command(batching=Batching(batch_size, gpus, accumulate), **options)

    number = click.IntRange(1, 10_000)
    called: Command = wrapped
    for name, sign, meaning in (
        ("--accumulate", "A", "Micro-batches added up before one optimizer step."),
        ("--gpus", "G", "GPUs that train beside each other."),
        ("--batch-size", "B", "Pictures in one micro-batch on one GPU."),
    ):
        called = click.option(name, type=number, default=1, show_default=True, metavar=sign, help=meaning)(called)
    return called


def execution_options(command: Command) -> Command:
    """Add the options of a run that change no byte of its result, and pass them on as ``execution``."""

    @click.option("-j", "--jobs", type=click.IntRange(min=1), default=None, show_default="one a core", help="Worker processes.")
    @click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=300,
        show_default=True,
        metavar="SECONDS",
        help="Give up on a picture after this long.",
    )
    @click.option("--overwrite", is_flag=True, help="Make everything anew and replace files that are in the way.")
    @click.option("--prune", is_flag=True, help="Delete outputs whose source is gone, or refused now.")
    @click.option("--verify", is_flag=True, help="Hash every file instead of trusting size and time of change.")
    @click.option(
        "--strict",
        is_flag=True,
        help="All or nothing: write only if no picture is refused and none fails, else exit with 1. All are made first "
        "and then moved into place, which only a failing disk or a kill can still cut short.",
    )
    @functools.wraps(command)
    def wrapped(
        *, jobs: int | None, timeout: float, overwrite: bool, prune: bool, verify: bool, strict: bool, **options: Any
    ) -> Any:
        from datakit.run.stage import Execution

        execution = Execution(
            jobs=jobs or cores(),
            timeout=timeout,
            overwrite=overwrite,
            prune=prune,
            verify=verify,
            strict=strict,
            progress=progress_bar,
        )
        return command(execution=execution, **options)

    return wrapped


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    """Show on stderr how far a run is, at what rate, and what is left; nothing where stderr is no terminal."""
    from tqdm import tqdm

    if sys.stderr is None:
        return items
    # A terminal that does not tell its size would show nothing.
    size = {"dynamic_ncols": True} if _size_is_known() else {"ncols": 80, "nrows": 24}
    return tqdm(items, total=total, desc=label, unit="picture", disable=None, leave=False, smoothing=0.05, **size)


def _size_is_known() -> bool:
    try:
        return min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except (OSError, ValueError):
        return True  # no terminal, so no bar


def print_json(value: Any, err: bool = False) -> None:
    """Print plain data as JSON on stdout, or on stderr where stdout holds something else."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), err=err)


def print_report(report: Report, as_json: bool, verbose: bool = False, err: bool = False) -> None:
    """Print what a run did: a summary for people, or all of it as JSON."""
    from datakit.report import counted

    if as_json:
        print_json(report.to_json(), err)
        return
    say = functools.partial(click.echo, err=err, color=None if "NO_COLOR" not in os.environ else False)
    target = f" -> {report.output}" if report.output else ""
    say(
        f"{report.stage} {report.source}{target}: "
        + ", ".join(
            f"{count} {word}"
            for count, word in (
                (report.done, "done" if report.output else "planned"),
                (report.skipped, "up to date"),
                (len(report.refused), "refused"),
                (len(report.failed), "failed"),
            )
            if count or word in ("done", "planned")
        )
    )
    for bucket, count in sorted(report.buckets.items(), key=lambda item: (-item[1], item[0])):
        say(f"  {bucket!s:>9}  {count:>6}  {'#' * max(1, round(40 * count / max(report.buckets.values())))}")
    for name, value in report.table.items():
        say(f"  {name}: {value:g}" if isinstance(value, float) else f"  {name}: {value}")
    if report.faces_cut:
        say(f"{counted(len(report.faces_cut), 'picture')} whose largest face is not whole:")
        _list(say, [f"{source}: {kept:.0%} of the face kept" for source, kept in report.faces_cut], verbose)
    if report.refused:
        say(click.style(f"{len(report.refused)} refused:", fg="yellow"))
        _list(say, _reasons(report.refused), verbose)
        too_small = sum(problem.factor is not None for problem in report.refused)
        if too_small > 1:
            say(f"  --upscale {report.upscale_needed:g} would take all {too_small} that are too small")
    if report.failed:
        say(click.style(f"{len(report.failed)} failed:", fg="red"))
        _list(say, _reasons(report.failed), verbose)
    if report.rejected:
        say(f"{len(report.rejected)} rejected in review, left out:")
        _list(say, report.rejected, verbose)
    ending = "deleted" if report.pruned else "kept; --prune deletes them"
    for title, outputs in (("whose source is gone", report.removed), ("of earlier options, refused now", report.stale)):
        if outputs:
            say(f"{counted(len(outputs), 'output')} {title} ({ending}):")
            _list(say, outputs, verbose)
    for note in report.notes:
        say(f"note: {_line(note)}")
    _warnings(say, report, verbose)


def _reasons(problems: list[Problem]) -> list[str]:
    return [f"{problem.source}: {problem.reason}" for problem in problems]


def _warnings(say: Callable[[str], None], report: Report, verbose: bool) -> None:
    from datakit.report import counted

    if not report.warnings:
        return
    if verbose or len(report.warnings) <= _FEW:
        say(f"{counted(len(report.warnings), 'warning')}:")
        for source, warning in report.warnings:
            say(f"  {_line(source)}: {warning.sentence}")
        return
    pictures = len({source for source, _ in report.warnings})
    kept = "; manifest.jsonl keeps them" if report.output else ""
    say(f"{counted(len(report.warnings), 'warning')} on {counted(pictures, 'picture')} (-v lists them{kept}):")
    say(f"  {report.warned_of()}")


def _line(text: str) -> str:
    """Return a text on one line, whatever the file names in it would do to a terminal."""
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) in _CONTROLS else sign for sign in text)


def _list(say: Callable[[str], None], lines: list[str], verbose: bool) -> None:
    shown = lines if verbose else lines[:_SHOWN]
    for line in shown:
        say(f"  {_line(line)}")
    if len(shown) < len(lines):
        say(f"  ... and {len(lines) - len(shown)} more (-v lists all)")


def say_using(dataset: Path, stage: str) -> Path:
    """Say on stderr which dataset is used though none was named; return it as short as it can be written."""
    short = dataset.relative_to(Path.cwd()) if dataset.is_relative_to(Path.cwd()) else dataset
    click.echo(f"using {short}/ (from the last {stage})", err=True)
    return short


def chosen(datasets: Sequence[Path]) -> list[Path]:
    """Return the datasets named, else the one that the last stage run from here wrote, saying so on stderr."""
    if datasets:
        return list(datasets)
    from datakit.dataset.last import last_dataset

    return [say_using(*last_dataset(Path.cwd()))]


def write_files(files: Sequence[tuple[Path, bytes]], overwrite: bool, datasets: Sequence[Path] = (), quiet: bool = False) -> None:
    """Write files all at once or none; no file that is not as datakit wrote it is replaced, none is written into a source.

    Raises
    ------
    UsageError
        Two are the same file, one was not written by datakit or edited since, would lie in the source of one of the
        datasets, or cannot be written.
    """
    from contextlib import ExitStack

    from datakit.dataset.last import one_at_a_time
    from datakit.dataset.origin import refuse_in_source
    from datakit.errors import UsageError

    for number, (path, _) in enumerate(files):
        if os.path.realpath(path) in {os.path.realpath(other) for other, _ in files[:number]}:
            raise UsageError(f"{path} is named for two of the files to write: give each its own name")
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file to write")
        refuse_in_source(path, datasets)
    with ExitStack() as held:
        for folder in sorted({path.resolve().parent for path, _ in files}):
            held.enter_context(one_at_a_time(folder))
        _write_free(files, overwrite, quiet)


def _write_free(files: Sequence[tuple[Path, bytes]], overwrite: bool, quiet: bool) -> None:
    """Write files over nothing but what datakit wrote, and take note of them."""
    from datakit.dataset.last import is_ours, remember_file
    from datakit.dataset.manifest import write_atomically
    from datakit.errors import UsageError

    for path, content in files:
        if path.exists() and not overwrite and path.read_bytes() != content and not is_ours(path):
            raise UsageError(
                f"{path} was not written by datakit, or edited since: use --overwrite to replace it, or write elsewhere"
            )
    for path, content in files:
        try:
            write_atomically(path, content)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
        remember_file(path, content)
        click.echo(f"wrote {path}", err=quiet)
