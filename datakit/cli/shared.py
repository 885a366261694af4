"""What the commands share: options, how a run is executed, its progress, and files written all or none."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from datakit.cli.sections import RUN, SHOW, section
from datakit.trainers import DEFAULT, TRAINERS

# More files than these are not named one by one.
_NAMED = 8

Command = Callable[..., Any]


class _Trainer(click.Choice[str]):
    """The name of a trainer; one that is misspelt is told the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        said = super().get_invalid_choice_message(value, ctx)
        near = get_close_matches(str(value), TRAINERS, 1)
        return f"{said} Did you mean {near[0]!r}?" if near else said


datasets_argument = click.argument("datasets", nargs=-1, metavar="[DATASET]...", type=click.Path(path_type=Path, file_okay=False))
repeats_option = click.option(
    "--repeats",
    type=click.IntRange(1, 1_000_000),
    multiple=True,
    metavar="N",
    help="Times each source picture is seen in one epoch in all, 1 = once; once for all datasets or once for each. "
    "[default: as the dataset was written]",
)
trainer_option = click.option(
    "--trainer",
    type=_Trainer(list(TRAINERS)),
    default=DEFAULT,
    show_default=True,
    metavar="NAME",
    help=f"Who is to train: {', '.join(TRAINERS)}.",
)
family_option = click.option(
    "--model-family",
    "family",
    show_default="the trainer's first",
    metavar="NAME",
    help="Which model is trained, by the trainer's name for it, such as sd3, sdxl or flux.",
)


def overwrite_option(command: Command) -> Command:
    """Add --overwrite for files that are written whole."""
    help_text = "Replace files that datakit did not write, or that were edited since."
    return section(RUN)(click.option("--overwrite", is_flag=True, help=help_text)(command))


def json_option(command: Command) -> Command:
    """Add --json, and put the options below it that have no section beside it."""
    return section(SHOW)(click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(command))


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

    @section(RUN)
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


def progress_bar(items: Iterable[Any], total: int, label: str, unit: str = "picture") -> Iterable[Any]:
    """Show on stderr how far a run is, at what rate, and what is left; nothing where stderr is no terminal."""
    from tqdm import tqdm

    if sys.stderr is None:
        return items
    # A terminal that does not tell its size would show nothing.
    size = {"dynamic_ncols": True} if _size_is_known() else {"ncols": 80, "nrows": 24}
    return tqdm(items, total=total, desc=label, unit=unit, disable=None, leave=False, smoothing=0.05, **size)


def _size_is_known() -> bool:
    try:
        return min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except (OSError, ValueError):
        return True  # no terminal, so no bar


def print_json(value: Any, err: bool = False) -> None:
    """Print plain data as JSON on stdout, or on stderr where stdout holds something else."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), err=err)


def say_using(dataset: Path, stage: str) -> Path:
    """Say on stderr which dataset is used though none was named; return it as short as it can be written."""
    short = shortened(dataset)
    click.echo(f"using {short}/ (from the last {stage})", err=True)
    return short


def shortened(path: Path) -> Path:
    """Return an absolute path as short as it can be written from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def chosen(datasets: Sequence[Path]) -> list[Path]:
    """Return the datasets named, else the one that the last stage run from here wrote, saying so on stderr."""
    if datasets:
        return list(datasets)
    from datakit.dataset.remembered import last_dataset

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

    from datakit.dataset.origin import refuse_in_source
    from datakit.dataset.remembered import one_at_a_time
    from datakit.errors import UsageError

    seen: set[str] = set()
    for path, _ in files:
        if (real := os.path.realpath(path)) in seen:
            raise UsageError(f"{path} is named for two of the files to write: give each its own name")
        seen.add(real)
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file to write")
        refuse_in_source(path, datasets)
    with ExitStack() as held:
        for folder in sorted({path.resolve().parent for path, _ in files}):
            held.enter_context(one_at_a_time(folder))
        _write_free(files, overwrite, quiet)


def _write_free(files: Sequence[tuple[Path, bytes]], overwrite: bool, quiet: bool) -> None:
    """Write files over nothing but what datakit wrote, and take note of them."""
    from datakit.dataset.manifest import write_atomically
    from datakit.dataset.remembered import edited, remember_files
    from datakit.errors import UsageError

    others = (path for path, content in files if path.exists() and not overwrite and path.read_bytes() != content)
    for path in edited(others):
        raise UsageError(f"{path} was not written by datakit, or edited since: use --overwrite to replace it, or write elsewhere")
    done: dict[Path, dict[Path, bytes]] = {}
    try:
        for path, content in files:
            write_atomically(path, content)
            done.setdefault(path.parent, {})[path] = content
            if len(files) <= _NAMED:
                click.echo(f"wrote {path}", err=quiet)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        for folder, written in done.items():
            remember_files(folder, written)
