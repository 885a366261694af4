"""The proof of a shell script that starts one of diffusers' scripts: the folder that it names, held against what that does."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from datakit.dataset.manifest import MANIFEST
from datakit.geometry import Size
from datakit.report import counted
from datakit.run.stage import Execution
from datakit.sizes import set_around
from datakit.trainers.diffusers.file import DATASETS, PATTERN, Command, read, rule_of, spelt, square_of
from datakit.trainers.diffusers.reading import Reading, Wanted, empty_rows, guess_faults, row_faults
from datakit.trainers.diffusers.replay import Listed, Rule, WorkedOut, replay
from datakit.trainers.proof import Trained, prove_folder
from datakit.trainers.verdict import Fault, Verdict


def prove(path: Path, execution: Execution) -> Verdict:
    """Check and replay every picture of every training that a shell script starts, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be used, or starts none of the scripts.
    """
    verdict = Verdict()
    for command in read(path):
        _prove_command(command, execution, verdict)
    return verdict


def _prove_command(command: Command, execution: Execution, verdict: Verdict) -> None:
    script, options = command.script, command.options
    option = next((name for name in _read_options(command) if name in options), None)
    name = Path(options[option]).name if option else script.name
    verdict.faults += [Fault(name, "", *fault) for fault in _option_faults(command)]
    rule = rule_of(command)
    if isinstance(rule, str):
        verdict.faults.append(Fault(name, "", rule))
    if option is None:
        verdict.faults.append(Fault(name, "", f"none of {' '.join(_read_options(command))} names a folder"))
    if option is None or isinstance(rule, str) or option in command.unknown:
        return
    folder = Path(options[option])
    if not folder.is_absolute() and not os.path.isdir(folder):
        problem = f"{option} {options[option]!r} is no folder here: a dataset from elsewhere cannot be proved"
        verdict.faults.append(Fault(name, "", problem, "write the absolute path of a folder"))
        return
    if not folder.is_absolute():
        problem = f"{option} {options[option]!r} is relative: the script looks from wherever it is started"
        verdict.faults.append(Fault(name, "", problem, "write the absolute path"))
    if PATTERN.search(options[option]):
        problem = f"{option} {options[option]!r} holds a sign that `datasets` takes for a pattern or an address: it finds other files or none"
        verdict.faults.append(Fault(name, "", problem, "rename the folder"))
    guessed = option == "--dataset_name"
    trained = Trained(
        name, folder, Reading(by_card=guessed), partial(replay, rule=rule), partial(_cause, command, rule), captions=None
    )
    seen = prove_folder(trained, execution, verdict)
    if not os.path.isdir(folder) or not script.reads_captions or option == "--instance_data_dir":
        return
    if guessed:
        verdict.faults += guess_faults(name, folder, seen.files)
    wanted = _wanted(command)
    if wanted is None:
        problem = f"no --caption_column: every picture is trained as {options.get('--instance_prompt', '')!r}"
        verdict.faults.append(Fault(name, "", problem, "write --caption_column=text"))
        return
    verdict.faults += row_faults(name, folder, seen.pictures, wanted, (folder / MANIFEST).is_file())
    verdict.notes += [f"{name}: {note}" for note in _notes(command, wanted, folder)]


def _read_options(command: Command) -> list[str]:
    """Return the options that name the dataset, the one that wins first."""
    script = command.script
    return (
        [DATASETS[0], DATASETS[2]]
        if script.dreambooth and script.reads_captions
        else [DATASETS[2]]
        if script.dreambooth
        else [*DATASETS[:2]]
    )


def _wanted(command: Command) -> Wanted | None:
    """Return how the rows are read; None where they are not."""
    if command.script.dreambooth:
        column = command.options.get("--caption_column")
        return None if column is None else Wanted(column, command.options.get("--instance_prompt", ""), draws=False)
    return Wanted(command.options.get("--caption_column", "text"), None, draws=True)


def _cause(command: Command, rule: Rule, sizes: Collection[Size]) -> tuple[str, str]:
    """Say why some sizes are changed where they are, and what keeps them."""
    meant = set_around(sizes)
    listed = f'write --use_aspect_ratio_buckets --aspect_ratio_buckets="{spelt(meant)}"'
    if isinstance(rule, WorkedOut):
        return "--use_aspect_ratio_buckets without a list works out sizes of its own", listed
    if command.script.bucketed and "--aspect_ratio_buckets" in command.options:
        return "their size is not in --aspect_ratio_buckets, which lists height,width", listed
    side = rule.buckets[0].width if isinstance(rule, Listed) else rule.resolution
    if command.script.bucketed:
        return f"without --aspect_ratio_buckets every picture becomes a square of {side}", listed
    square = square_of(meant)
    cure = f"crop with --bucket {square} and write --resolution={square.width}, or take a script with buckets, such as train_dreambooth_lora_flux2.py"
    return f"{command.script.name} has no buckets: every picture becomes a square of {side}", cure


def _option_faults(command: Command) -> Iterator[tuple[str, ...]]:
    """Yield (problem, remedy) of each option that changes what is trained."""
    options, script = command.options, command.script
    for name in command.unknown:
        yield f"{name} holds {options[name]!r}, which the file does not set", "write it out"
    if not script.reads_captions:
        yield (
            f"{script.name} reads no captions, and stops at every file that is no picture",
            "take a script that has --dataset_name",
        )
    elif script.dreambooth and "--instance_data_dir" in options and "--dataset_name" not in options:
        yield (
            "--instance_data_dir reads no captions, and stops at every file that is no picture",
            "write --dataset_name and --caption_column=text",
        )
    if "--random_flip" in options:
        yield "--random_flip is set: pictures are mirrored at random", "leave it out"
    if "--max_train_samples" in options:
        yield f"--max_train_samples {options['--max_train_samples']}: the other pictures are never trained", "leave it out"
    if options.get("--image_column", "image") != "image":
        yield (
            f"--image_column {options['--image_column']}: the pictures of a folder are in the column image",
            "write --image_column=image",
        )
    if options.get("--dataset_config_name", "default") != "default":
        yield f"--dataset_config_name {options['--dataset_config_name']}: a folder has none of that name", "leave it out"
    if command.number("--repeats", 1) is None:
        yield f"--repeats {options['--repeats']}: use 1 or more", "write --repeats=1"


def _notes(command: Command, wanted: Wanted, folder: Path) -> Iterator[str]:
    if not wanted.instance_prompt and (empty := empty_rows(folder, wanted.column)):
        yield f"{counted(empty, 'row')} with an empty caption, trained as the empty caption"
    if "--with_prior_preservation" in command.options:
        yield "class pictures are trained beside these (--with_prior_preservation)"
    if "--proportion_empty_prompts" in command.options:
        yield f"captions are left out at random (--proportion_empty_prompts {command.options['--proportion_empty_prompts']})"
