"""Decide how the copies of a picture differ: name, caption, augmentation. Pure data: no picture is read or written."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from random import Random

import msgspec

from datakit.caption.captions import swap_sides, written_word
from datakit.caption.tokens import Splitting, Token, Tokens, fill_wildcards, format_tokens, orders, parse, without
from datakit.caption.trigger import holds_phrase, same_words
from datakit.dataset.links import LINKS
from datakit.dataset.samples import repeats_of
from datakit.errors import UsageError
from datakit.picture.augment import Drawn, check_strengths, draw
from datakit.picture.formats import KEPT
from datakit.seeds import DEFAULT_SEED, generator

# Part of every options key: raise it when the same options give other bytes than before.
_RULES = 3


@dataclass(frozen=True, slots=True)
class ShuffleOptions:
    """What decides which copies are written and what their captions say.

    Attributes
    ----------
    repeats
        Copies of each picture, at least 1.
    repeats_from_folders
        Take them from the name of the picture's folder where that begins with a number, as in ``10_name``.
    keep
        Leading tokens that never move.
    separator, style, keep_separator
        See `datakit.caption.tokens.Splitting` and `datakit.caption.tokens.parse`.
    wildcards
        Choose one of ``{a|b}`` anew for each copy.
    prefix, suffix
        Text before and after every caption that does not hold it; it never moves and does not count as kept.
    drop_tokens, drop_caption
        Probability (0 to 1) of leaving out each movable token, and the whole caption of a copy.
    shuffle_first
        Shuffle the first copy too, which otherwise keeps its order.
    captions_only
        Write each picture once, with ``repeats`` captions for each of its own, a line each.
    augment
        Strengths by name; see `datakit.picture.augment.AUGMENTATIONS`. The first copy is never augmented.
    flip_anyway
        Mirror pictures whose captions speak of writing too.
    quality
        Of augmented jpg and webp, 1 to 100.
    link
        How a copy that is not augmented is made: a name of `LINKS`, or ``auto``, the first that works of hard,
        reflink and copy.
    seed
        Of everything that is drawn.
    """

    repeats: int = 5
    repeats_from_folders: bool = False
    keep: int = 0
    separator: str | None = None
    style: str = "auto"
    keep_separator: str | None = None
    wildcards: bool = False
    prefix: str = ""
    suffix: str = ""
    drop_tokens: float = 0.0
    drop_caption: float = 0.0
    shuffle_first: bool = False
    captions_only: bool = False
    augment: Mapping[str, float] = field(default_factory=dict)
    flip_anyway: bool = False
    quality: int = 95
    link: str = "auto"
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise UsageError(f"repeats {self.repeats} is below 1: 1 writes each picture once")
        if self.keep < 0:
            raise UsageError(f"keep {self.keep} is below 0: 0 lets every token move")
        for name, probability in (("drop_tokens", self.drop_tokens), ("drop_caption", self.drop_caption)):
            if not (math.isfinite(probability) and 0 <= probability <= 1):
                raise UsageError(f"{name} {probability} is not a probability: give a number from 0 to 1")
        if self.keep_separator == "":
            raise UsageError("an empty separator separates nothing: give the text that stands between tokens")
        self.splitting  # noqa: B018  # raises for what cannot be
        if len((self.prefix + self.suffix).splitlines()) > 1:
            raise UsageError("prefix and suffix are tokens of one caption: leave out the line break")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality} is not between 1 and 100")
        if self.link != "auto" and self.link not in LINKS:
            raise UsageError(f"link {self.link!r} is unknown: choose from auto, {', '.join(LINKS)}")
        if self.captions_only and (self.augment or self.drop_caption):
            raise UsageError("captions_only writes no copies: it goes with neither augment nor drop_caption")
        check_strengths(self.augment)

    def of(self, sample: str) -> ShuffleOptions:
        """Return the options of one sample: the number of its copies may stand in its folder's name."""
        told = repeats_of(sample) if self.repeats_from_folders else None
        return replace(self, repeats=told) if told else self

    @property
    def splitting(self) -> Splitting:
        """How captions are read. Raises UsageError."""
        return Splitting(self.separator, self.style)

    def key(self) -> str:
        """Return a short hash of everything that decides the bytes of a copy."""
        decisive = asdict(self)
        del decisive["repeats_from_folders"]  # decides how many copies there are
        del decisive["link"]  # decides where the bytes lie, not which they are
        if not self.captions_only:
            del decisive["repeats"]  # no copy depends on how many there are
        return hashlib.sha256(msgspec.json.encode({"rules": _RULES, **decisive}, order="sorted")).hexdigest()[:12]


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One copy as it is decided on.

    Attributes
    ----------
    source, output
        The sample's id, and the picture that will be written, relative to the dataset.
    copy
        Its number from 1; None where a picture is written once, with several captions.
    caption
        The text of its caption file.
    augmentation
        What was drawn, by name.
    unflipped
        The word for whose sake it is not mirrored, though that was drawn.
    """

    source: str
    output: str
    copy: int | None
    caption: str
    augmentation: dict[str, Drawn]
    unflipped: str | None = None


def tokens_of(line: str, options: ShuffleOptions) -> Tokens:
    """Split one caption, prefix and suffix added where it does not hold them.

    Where it holds one as a token, that token stands in front or behind instead; where it only speaks of it, as in
    "photo of ohwx woman", nothing is added, and the first token, if it is that one, stays in front.
    """
    tokens = parse(line, options.keep, options.keep_separator, options.splitting)
    prefix, suffix = _token(options.prefix), _token(options.suffix)
    for text, added in ((options.prefix, prefix), (options.suffix, suffix)):
        there = [token for token in tokens.whole if added and not token.fixed and same_words(token.text, text)]
        if there:
            more = options.keep and there[0] in tokens.head
            tokens = _taken_out(
                parse(line, options.keep + 1, options.keep_separator, options.splitting) if more else tokens, there[0]
            )
            added[:] = [there[0]._replace(after=added[0].after)]
        elif added and holds_phrase(line, text):
            added.clear()
            if text == options.prefix and not tokens.head and tokens.movable and holds_phrase(tokens.movable[0].text, text):
                tokens = replace(tokens, head=tokens.movable[:1], movable=tokens.movable[1:])
    return replace(tokens, head=(*prefix, *tokens.head), tail=(*tokens.tail, *suffix))


def _taken_out(tokens: Tokens, token: Token) -> Tokens:
    """Leave out the first token that is this one."""
    at = tokens.whole.index(token)
    head, movable = len(tokens.head), len(tokens.head) + len(tokens.movable)
    left = (*tokens.whole[:at], *tokens.whole[at + 1 :])
    head, movable = head - (at < head), movable - (at < movable)
    return replace(tokens, head=left[:head], movable=left[head:movable], tail=left[movable:])


def variants_of(sample: str, start: str, lines: Sequence[Tokens], options: ShuffleOptions) -> list[Variant]:
    """Decide on all copies of a sample with these captions; their names are ``start`` and a number."""
    suffix = os.path.splitext(sample)[1].lower()
    captions = _captions(sample, lines, options)
    if options.captions_only:
        return [Variant(source=sample, output=f"{start}{suffix}", copy=None, caption=_text(chain(*captions)), augmentation={})]
    variants = []
    for copy, shuffled in enumerate(captions, 1):
        drawn = draw(options.augment, options.seed, sample, copy) if options.augment and copy > 1 else {}
        text = _text(shuffled)
        unflipped = written_word("\n".join(map(_whole, lines))) if "flip" in drawn and not options.flip_anyway else None
        if unflipped:
            del drawn["flip"]
        if "flip" in drawn:
            text = swap_sides(text)
        if options.drop_caption and generator(options.seed, sample, "drop", copy).random() < options.drop_caption:
            text = ""
        written = ".png" if drawn and suffix not in KEPT else suffix
        variants.append(
            Variant(
                source=sample, output=f"{start}{copy}{written}", copy=copy, caption=text, augmentation=drawn, unflipped=unflipped
            )
        )
    return variants


def _captions(sample: str, lines: Sequence[Tokens], options: ShuffleOptions) -> list[list[str]]:
    """Return the captions of copy 1, 2, 3 and so on, one for each line; what is drawn depends on seed, sample, copy and line."""
    streams = []
    for number, tokens in enumerate(lines):
        source = partial(generator, options.seed, sample, "shuffle", number)
        streams.append(
            (number, tokens, orders(tokens.movable, source, shuffle_first=options.shuffle_first, pinned=tokens.pinned))
        )
    return [
        [
            _written(tokens, next(order), options, partial(generator, options.seed, sample, copy, number))
            for number, tokens, order in streams
        ]
        for copy in range(1, options.repeats + 1)
    ]


def _written(tokens: Tokens, order: tuple[Token, ...], options: ShuffleOptions, source: Callable[[str], Random]) -> str:
    """Write out one caption of one copy."""
    if options.drop_tokens:
        order = without(order, options.drop_tokens, source("tokens"))
    whole = (*tokens.head, *order, *tokens.tail)
    if options.wildcards:
        choices = source("wildcards")
        filled = (token._replace(text=fill_wildcards(token.text, choices)) for token in whole)
        whole = tuple(token for token in filled if token.text)
    return format_tokens(whole, tokens.end)


def _whole(tokens: Tokens) -> str:
    return format_tokens(tokens.whole, tokens.end)


def _token(text: str) -> list[Token]:
    return [Token(text.strip())] if text.strip() else []


def _text(lines: Iterable[str]) -> str:
    return "\n".join(filter(None, lines))
