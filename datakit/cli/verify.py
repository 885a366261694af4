"""The command `datakit verify`: parse, call the trainer, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.backend import looking_options, verbose_option
from datakit.cli.findings import print_verdict
from datakit.cli.sections import SectionedCommand
from datakit.cli.shared import json_option, print_json
from datakit.trainers import DEFAULT, TRAINERS

if TYPE_CHECKING:
    from datakit.run.stage import Execution


@click.command(cls=SectionedCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--trainer",
    "name",
    type=click.Choice(list(TRAINERS)),
    metavar="NAME",
    show_default="as the file tells",
    help=f"Whose dataset config it is: {', '.join(TRAINERS)}.",
)
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="RELEASE",
    help="Of SimpleTuner: current (3.1.6 and 4.8) or 2024-10 (the recipe's commit); repeatable. [default: all that are known]",
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder that was published where an entry for an object store says; it is proved in its stead; repeatable.",
)
@looking_options
@json_option
@verbose_option
@click.pass_context
def verify(
    ctx: click.Context,
    file: Path | None,
    name: str | None,
    releases: tuple[str, ...],
    datasets: tuple[Path, ...],
    execution: Execution,
    as_json: bool,
    verbose: bool,
) -> None:
    """Prove that a trainer trains every picture of its dataset file as written.

    Decodes each picture of FILE (multidatabackend.json by default, whoever wrote it; its form tells the trainer),
    checks it and its caption as `datakit backend` does, replays the trainer's listing and its bucket, resize and crop
    arithmetic, and names what would be resized, cropped, dropped, not seen or refused, and which key keeps it. What
    the file leaves out counts as the trainer's default. Once SimpleTuner has started, the aspect_ratio_bucket files
    that it wrote are compared with the folder: what it lost is named, what it scanned at another size or in another
    bucket, and latents that are older than their picture. Exit 0 proved, 1 not.

    What lies in an object store is not read: such an entry is proved by the folder that was published there, named with
    --dataset and recognised by the hash in the entry's id, provided that both hold the same.

    \b
    datakit verify
    datakit verify kohya.toml
    datakit verify multidatabackend.json --release current --json
    """
    from datakit.trainers import trainer
    from datakit.trainers.backend import verify_backend

    file = file or Path(trainer(name or DEFAULT).file_name)
    verdict = verify_backend(file, releases, execution, trainer=name, datasets=datasets)
    if as_json:
        print_json(verdict.to_json())
    else:
        print_verdict(verdict, verbose)
    ctx.exit(1 if verdict.faults else 0)
