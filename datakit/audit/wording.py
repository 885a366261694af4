"""Captions as the text encoders see them: too long, without the trigger word, or torn into lines."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from datakit.audit.checks import DATASET, Finding
from datakit.audit.concept import Concept
from datakit.caption.captions import read_caption
from datakit.caption.lines import lines_are
from datakit.errors import CaptionError, UsageError
from datakit.libraries import to_install_extra

_MARKS = 2
# A word of CLIP's vocabulary of common English words is one token; longer ones fall into pieces of about seven letters.
_ESTIMATED = re.compile(r"[A-Za-z]{1,7}|\d|[^\sA-Za-z\d]")
# A longer text of ASCII is counted otherwise than by the pattern, with the same result but sooner.
_SHORT = 32
_LETTERS = string.ascii_letters.encode()
_BLANK = bytes(sign for sign in range(128) if chr(sign).isspace())
_LETTERS_ALONE = bytes(sign if sign in _LETTERS else 32 for sign in range(256))


def estimate_tokens(text: str) -> int:
    """Estimate how many tokenizer tokens a caption takes, both marks included.

    Words of up to seven letters count one, longer ones one for each further seven, every digit, sign and
    character of another script one. A rule of thumb for English: count exactly with `tokenizer_counter`.
    """
    if len(text) < _SHORT:
        return _estimated(text)
    if not text.isascii():
        return _MARKS + len(_ESTIMATED.findall(text))
    signs = text.encode()
    words = signs.translate(_LETTERS_ALONE).split()
    longer = sum([(len(word) - 1) // 7 for word in words if len(word) > 7])
    return _MARKS + len(signs.translate(None, _LETTERS + _BLANK)) + len(words) + longer


@lru_cache(maxsize=1 << 14)
def _estimated(tag: str) -> int:
    return _MARKS + len(_ESTIMATED.findall(tag))


def tokenizer_counter(file: Path) -> Callable[[str], int]:
    """Return an exact counter that reads a ``tokenizer.json`` with the optional `tokenizers` library.

    Raises
    ------
    UsageError
        The library is not installed, or the file is no tokenizer.
    """
    try:
        library = import_module("tokenizers")
    except ImportError:
        raise UsageError(f"counting tokens exactly needs an extra: {to_install_extra('tokenizer')}") from None
    try:
        tokenizer = library.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UsageError(f"{file} is no tokenizer.json: {error}") from None
    return partial(_count, tokenizer)


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer.encode(text).ids)


def check_wording(
    concept: Concept,
    encoders: Mapping[str, int],
    trigger: str | None = None,
    counter: Callable[[str], int] | None = None,
) -> list[Finding]:
    """Find captions that the text encoders would cut, captions without the trigger word, and tags taken for captions.

    Parameters
    ----------
    concept
        The dataset.
    encoders
        The text encoders, and how many tokenizer tokens each sees, the start and end marks included.
    trigger
        A word or phrase that every caption must hold, in any case.
    counter
        Counts the tokenizer tokens of a caption; without one they are estimated.
    """
    findings = []
    tokens, about = (counter, "") if counter else (estimate_tokens, "about ")
    for record in concept.records:
        if record.caption is None:
            continue
        try:
            lines = read_caption(concept.folder / record.caption).lines
        except CaptionError:
            continue  # `check_dataset` names it
        if not lines:
            continue
        if lines_are(lines) != "captions":
            problem = "lines that look like the tags of one caption: each is trained as a caption of its own"
            remedy = f"`datakit captions import SRC {DATASET} --join-lines` joins them, in the dataset that crop wrote"
            findings.append(Finding("lines", record.caption, problem, remedy, f"{len(lines)} lines", refused=False))
        longest = max(map(tokens, lines))
        cut = [f"{encoder} sees {limit}" for encoder, limit in encoders.items() if longest > limit]
        if cut:
            problem = f"too long for the text encoders: {' and '.join(cut)} tokenizer tokens"
            remedy = "shorten it, or put what matters first"
            findings.append(Finding("length", record.caption, problem, remedy, f"{about}{longest}", refused=False))
        if trigger is not None and any(trigger.casefold() not in line.casefold() for line in lines):
            findings.append(
                Finding(
                    "trigger",
                    record.caption,
                    f"without the trigger word {trigger!r}",
                    "add it to the source caption, or use the shuffle option --prefix",
                    refused=False,
                )
            )
    return findings
