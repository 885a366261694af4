"""The file that names the layers to train, as `datakit weights targets` writes it, and the options that SimpleTuner finds it by."""

from __future__ import annotations

import json
import os
from pathlib import Path

from datakit.errors import UsageError


def target_settings(path: Path) -> tuple[str, ...]:
    """Return the settings, ``key=value``, that make SimpleTuner train the layers that a file names.

    A list of endings is for peft (``lora_type standard``), a table with ``apply_preset`` for LyCORIS; ranks and algorithm of
    the latter stand in that file alone.

    Raises
    ------
    UsageError
        The file is missing, or neither of the two.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and found and all(isinstance(name, str) for name in found):
        return (f"peft_lora_target_modules={os.path.abspath(path)}",)
    if isinstance(found, dict) and "apply_preset" in found and "algo" in found:
        return ("lora_type=lycoris", f"lycoris_config={os.path.abspath(path)}")
    raise UsageError(
        f"{path} names no layers for SimpleTuner: write it with `datakit weights targets MODEL --trainer simpletuner --output {path}`"
    )
