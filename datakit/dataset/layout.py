"""Every name that datakit gives to files of its own in a folder it writes, relative to that folder."""

from __future__ import annotations

from pathlib import Path

# The working folder inside a dataset, and beside config files.
STATE_FOLDER = ".datakit"

# A dataset being written: who writes it, what is not in the manifest yet, files that are not finished.
LOCK = f"{STATE_FOLDER}/lock"
JOURNAL = f"{STATE_FOLDER}/journal.jsonl"
TEMPORARY = f"{STATE_FOLDER}/tmp"  # noqa: S108  # not the system's
# Files edited by hand whose picture was taken out of the dataset: they stay, and are known when it comes back.
LEFT = f"{STATE_FOLDER}/left.json"
# What is known of a dataset: sha256 of files, where it came from, what its last crop did, small copies of its pictures.
FINGERPRINTS = f"{STATE_FOLDER}/seen.sqlite"
ORIGIN = f"{STATE_FOLDER}/origin.json"
REPORT = f"{STATE_FOLDER}/report.json"
THUMBNAILS = f"{STATE_FOLDER}/thumbnails"
# In a folder of links that was made for a trainer: which one, and of which datasets; in the folder that holds such folders,
# who is making one, and one that is not finished.
VIEW = f"{STATE_FOLDER}/view.json"
VIEWS_LOCK = f"{STATE_FOLDER}/views.lock"
VIEWS_TEMPORARY = f"{STATE_FOLDER}/view"
# What people decided, which is theirs and lies beside the manifest; and who is changing it.
DECISIONS = "decisions.jsonl"
DECISIONS_LOCK = f"{STATE_FOLDER}/decisions.lock"
# In a folder that commands were run from: the dataset last written, config files as they were written, the commands; and in one
# of a pipeline file, what its stages read and left.
LAST = f"{STATE_FOLDER}/last.json"
FILES = f"{STATE_FOLDER}/files.json"
COMMANDS = f"{STATE_FOLDER}/commands.json"
FILES_LOCK = f"{STATE_FOLDER}/files.lock"
PIPELINE = f"{STATE_FOLDER}/pipeline.json"
# In a folder of links to checkpoints: which name stands for which content. In one of strips: how each picture was made.
LINKS = f"{STATE_FOLDER}/links.json"
CELLS = "cells.jsonl"

# Beside shards: what each was made of and holds, with which options, and files that are not finished. Written last: what the
# whole dataset is.
SHARDS_STATE = "_datakit"
SHARDS_OPTIONS = f"{SHARDS_STATE}/options.json"
SHARDS_TEMPORARY = f"{SHARDS_STATE}/tmp"  # noqa: S108
SHARDS = "dataset.json"


def receipt(shard: str) -> str:
    """Return where the receipt of a shard lies."""
    return f"{SHARDS_STATE}/{shard}.json"


def shuffled(dataset: Path) -> Path:
    """Return where the copies of a dataset are written if nothing is said."""
    return dataset.with_name(f"{dataset.resolve().name}_shuffled")
