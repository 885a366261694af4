"""Fit a caption to a closer crop: the word for its distance, what contradicts that, what the crop may no longer show.

The distance is measured in heights of the main face, from the face's top down to the lower edge of the picture. The
words are those of photographers and of image boards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from datakit.caption.sentences import closes
from datakit.caption.tokens import Token, format_tokens, parse
from datakit.report import Warned

# Face heights up to which each word holds; beyond the last, the whole body is there.
DISTANCES = ((2.2, "close-up"), (3.2, "portrait"), (5.0, "upper body"), (8.0, "cowboy shot"))
FULL_BODY = "full body"
# Every way to tell a distance, by the word of `DISTANCES` that it agrees with; None agrees with none of them.
_SAID: tuple[tuple[str, str | None], ...] = (
    (r"(?:extreme )?close[ -]?ups?(?: shot)?", "close-up"),
    (r"face focus", "close-up"),
    (r"portrait(?: shot)?|head[ -]?shot|head and shoulders|bust(?: shot| portrait)?", "portrait"),
    (r"upper[ -]body(?: shot)?|half[ -]body(?: shot)?|waist[ -]up|medium (?:close[ -]?up|shot)", "upper body"),
    (r"cowboy shot|three[ -]quarters? shot|american shot|knees?[ -]up", "cowboy shot"),
    (r"(?:full|whole)[ -](?:body|length)(?: (?:shot|portrait))?|full shot", FULL_BODY),
    (r"(?:very |extreme )?(?:wide|long)[ -]shot|lower body|distant shot", None),
)
# Captions of landscapes speak of portrait format, and of portraits that hang in the picture.
_NO_DISTANCE = re.compile(r"portrait (?:orientation|format|of )", re.IGNORECASE)
# What is seen only in pictures that reach so many face heights down, by the last word of a short token.
_SEEN_FROM = (
    (8.0, "shoes boots sneakers heels sandals slippers loafers feet foot toes barefoot socks footwear"),
    (5.5, "legs leg knees knee thighs thighhighs stockings pantyhose kneehighs leggings leg-warmers"),
    (5.0, "standing walking running sitting kneeling squatting crouching lying jumping seiza"),
    (4.2, "skirt miniskirt pants jeans shorts trousers belt hips panties"),
    (3.6, "midriff navel stomach waist abs"),
)
_LAST_WORD = {word: heights for heights, words in _SEEN_FROM for word in words.split()}
# Longer tokens say more than what a person wears or does.
_MOST_WORDS = 4
_WORD = re.compile(r"\w+(?:-\w+)*")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A caption fitted to a crop: its lines, and what was done or is to be looked at."""

    lines: tuple[str, ...]
    warnings: tuple[Warned, ...] = ()


class _Found(NamedTuple):
    """What of a caption a crop is at odds with: whole tokens of another distance, and of what it may not show; phrases inside others."""

    contradicting: list[str]
    beyond: list[str]
    inside: list[str]
    beyond_inside: list[str]


def distance_word(heights: float) -> str:
    """Return the word for a picture that reaches so many face heights down from the top of its main face."""
    return next((word for most, word in DISTANCES if heights < most), FULL_BODY)


def fit(lines: Sequence[str], heights: float, *, trim: bool = False) -> Fitted:
    """Fit the lines of a caption to a crop that reaches so many face heights down.

    The word for that distance is added at the end where it is missing; tokens that are another such word are taken
    out. Tokens of what so close a crop may not show are named, and taken out where ``trim`` asks for it. Sentences and
    groups stay as they are, and are named where they speak of another distance or of what may not be seen.
    """
    word = distance_word(heights)
    fitted: list[str] = []
    found = _Found([], [], [], [])
    for line in lines:
        tokens = parse(line)
        kept: list[Token] = []
        said = False
        for token in tokens.whole:
            plain = _plain(token.text)
            whole = next((agrees for pattern, agrees in _SAID if re.fullmatch(pattern, plain)), "")
            single = tokens.style != "sentences" and not token.fixed and "," not in plain
            if whole not in ("", word) and single:
                found.contradicting.append(token.text.strip())
                continue
            if single and _seen_from(plain) > heights:
                found.beyond.append(token.text.strip())
                if trim:
                    continue
            else:
                found.beyond_inside.extend(each for each in _WORD.findall(plain) if _LAST_WORD.get(each, 0.0) > heights)
            inside = _mentioned(plain)
            said = said or word in inside
            found.inside.extend(phrase for agrees, phrase in inside.items() if agrees != word and (whole == "" or not single))
            kept.append(token)
        if not said:
            if kept and tokens.end and tokens.style != "tags":
                kept[-1] = kept[-1]._replace(after=f"{tokens.end} ")  # the stop that this sentence had
            kept.append(Token(_spelt(word, kept)))
        fitted.append(format_tokens(kept, tokens.end))
    return Fitted(tuple(fitted), tuple(_warnings(word, found, trim=trim)))


def far(lines: Iterable[str]) -> tuple[Warned, ...]:
    """Return a warning where lines speak of a wide view, for a closer crop without a face to tell its distance by."""
    said = [phrase for line in lines for agrees, phrase in _mentioned(_plain(line)).items() if agrees in (FULL_BODY, None)]
    what = _listed(map(repr, said))
    return (
        (Warned("caption-distance", f"a closer crop, the caption speaks of {what}: edit it where that is true no more"),)
        if said
        else ()
    )


def _plain(text: str) -> str:
    """Return a token's words without case, underscores, brackets and weights."""
    return re.sub(r":[\d.]+(?=[)\]]*$)", "", text.strip().lower().replace("_", " ")).strip("()[]{}.!? ")


def _seen_from(plain: str) -> float:
    words = plain.split()
    return _LAST_WORD.get(words[-1], 0.0) if words and len(words) <= _MOST_WORDS else 0.0


def _mentioned(plain: str) -> dict[str | None, str]:
    """Return the phrases in a text that tell a distance, by the word that each agrees with."""
    text = _NO_DISTANCE.sub("", plain)
    found = ((agrees, re.search(rf"(?<![\w-])(?:{pattern})(?![\w-])", text)) for pattern, agrees in _SAID)
    return {agrees: match[0] for agrees, match in found if match}


def _spelt(word: str, tokens: Sequence[Token]) -> str:
    """Return a word as the tokens in front of it are written: as a sentence, or with underscores for blanks."""
    if tokens and closes((tokens[-1].text + tokens[-1].after).strip()):
        return word.capitalize()
    tags = [token.text.strip() for token in tokens]
    return word.replace(" ", "_") if any("_" in tag for tag in tags) and not any(" " in tag for tag in tags) else word


def _warnings(word: str, found: _Found, *, trim: bool) -> Iterable[Warned]:
    out = [*found.contradicting, *(found.beyond if trim else ())]
    if out:
        yield Warned("caption-fitted", f"cropped to {word}: taken out of the caption: {_listed(out)}")
    if found.beyond and not trim:
        what = _listed(found.beyond)
        yield Warned("caption-beyond", f"cropped to {word}, which may not show: {what} (--crop-captions trim takes that out)")
    if found.beyond_inside:
        what = _listed(found.beyond_inside)
        yield Warned("caption-beyond", f"cropped to {word}, which may not show what a longer part of the caption says: {what}")
    if found.inside:
        what = _listed(map(repr, found.inside))
        yield Warned("caption-distance", f"cropped to {word}, the caption speaks of {what}: edit it")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
