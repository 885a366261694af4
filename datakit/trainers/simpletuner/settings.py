"""Read ``--set key=value`` for SimpleTuner's image entry: which keys can be set, to what, and why others cannot."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from datakit.errors import UsageError
from datakit.trainers.simpletuner.entry import ImageEntry

_OURS = "datakit writes it from the dataset and from its own options"
_OTHER_KIND = "SimpleTuner reads it only in entries of another kind (csv, aws, huggingface, parquet, video or audio)"
_OTHER_ENTRY = "it names an entry that datakit does not write: add both to the file by hand, then run datakit verify"
_NO_EFFECT = "SimpleTuner 3.1.6 does nothing with it"

# Keys of SimpleTuner 3.1.6 that are not for `--set`, and why.
_NOT_SETTABLE = {
    **dict.fromkeys(
        ("id", "type", "dataset_type", "instance_data_dir", "instance_data_root", "cache_dir_vae", "text_embeds", "text_embed_cache"), _OURS,
    ),
    **dict.fromkeys(("aws_bucket_name", "aws_data_prefix"), f"{_OURS}: use --at"),
    **dict.fromkeys(("aws_endpoint_url", "aws_region_name"), f"{_OURS}: use --at and --endpoint"),
    **dict.fromkeys(
        ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), "secrets are never written: SimpleTuner takes them from its environment",
    ),
    "repeats": f"{_OURS}: use --repeats",
    "caption_shuffle": f"{_OURS}: use --caption-shuffle",
    **dict.fromkeys(("disabled", "disable"), "a disabled entry trains nothing: leave its dataset out of the call"),
    "cache_file_suffix": "by the id in their names datakit knows which of the trainer's files belong to which content",
    **dict.fromkeys(("ignore_epochs", "disable_after_epoch_step"), _NO_EFFECT),
    **dict.fromkeys(
        ("conditioning_data", "conditioning_type", "source_dataset_id", "image_embeds", "conditioning_image_embeds"), _OTHER_ENTRY
    ),
    "disable_vae_cache": "SimpleTuner 3.1.6 then has no latents and stops at the first batch",
    "auto_generated": "SimpleTuner sets it itself",
    **dict.fromkeys(
        (
            "aws_max_pool_connections", "audio", "caption_filter_list", "composite_image_column", "csv_cache_dir", "csv_caption_column", "csv_file",
            "csv_hash_filenames", "csv_shorten_filenames", "csv_url_column", "dataset_name", "huggingface", "image_column", "parquet",
            "revision", "shorten_filenames", "shuffle", "split", "split_composite_images", "train_batch_size", "video", "video_column",
        ),
        _OTHER_KIND,
    ),
}  # fmt: skip


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs, each value of exactly the type and in the range that its key takes.

    Values are JSON (``true``, ``0.5``) or plain text for keys that take text.

    Raises
    ------
    UsageError
        A key is unknown or not to be set, or a value has the wrong type or is out of range.
    """
    fields = {field.name: field.type for field in msgspec.structs.fields(ImageEntry) if field.name not in _NOT_SETTABLE}
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting!r}: write key=value, such as --set probability=0.5")
        if key in _NOT_SETTABLE:
            raise UsageError(f"--set {key}: not a key that can be set here: {_NOT_SETTABLE[key]}")
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"keys: {' '.join(sorted(fields))}"
            raise UsageError(f"--set {key}: not a key of SimpleTuner's image entry: {hint}")
        changes[key] = _typed(key, text, fields[key])
    return changes


def _typed(key: str, text: str, kind: Any) -> Any:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = text
    # Text that happens to be JSON, for a key that takes text.
    for each in (value, text):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(each, kind)
    raise UsageError(f"--set {key}={text}: give {_allowed(msgspec.inspect.type_info(kind))}")


def _allowed(kind: msgspec.inspect.Type) -> str:
    """Say in words what a key takes."""
    match kind:
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.LiteralType(values):
            return " or ".join(map(str, values))
        case msgspec.inspect.StrType():
            return "some text"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            noun = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
            limits = (("more than", kind.gt), ("at least", kind.ge), ("at most", kind.le))
            return " ".join([noun, " and ".join(f"{words} {limit}" for words, limit in limits if limit is not None)])
        case msgspec.inspect.ListType() | msgspec.inspect.UnionType():
            return "a JSON list or object as SimpleTuner documents it"
    return "a JSON object as SimpleTuner documents it"
