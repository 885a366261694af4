"""Where sentences end in a caption, and whether it holds any: in a list of tags a full stop is part of a name."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

from datakit.caption.scan import COMMAS, WIDE_STOPS, Mark, Scanned

# Words whose full stop ends no sentence, and those for which that holds before a number only ("no. 5").
_ABBREVIATIONS = re.compile(
    r"adm|al|apt|approx|apr|aug|ave|bldg|blvd|bros|ca|capt|cf|cmdr|co|col|corp|dec|dept|dr|esq|est|etc|feat|feb|fl|ft|gen|gov|hon|"
    r"hrs|inc|incl|jan|jr|jul|jun|lb|lbs|lt|ltd|maj|messrs|misc|mlle|mme|mr|mrs|ms|mt|mx|nov|oct|oz|pres|prof|rd|rep|rev|sen|sept|"
    r"sgt|sq|sr|st|tbsp|tsp|vs"
)
_NUMBERED = re.compile(r"ch|fig|no|nr|nos|op|p|pp|pt|vol")
# A unit behind a number: "a 3 in. blade".
# "J", "e.g", "p.m", "Ph.D", "u.s.a"
_UNITS = "in|min|sec|yd|hr"
_MEASURED = re.compile(rf"\d\s?(?:{_UNITS})$", re.IGNORECASE)
# What the end of any of these may be; of no other word of two letters and more a full stop is part.
_SHORTENED = frozenset(f"{_ABBREVIATIONS.pattern}|{_NUMBERED.pattern}|{_UNITS}".split("|"))
_LETTERS = re.compile(r"[^\W\d_]|[^\W\d_]{1,3}(?:\.[^\W\d_]{1,2})+")
_LAST_WORD = re.compile(r"[\w.]+$")
_LONGEST = 16
# A capital in one of these begins a sentence even behind an abbreviation: "at 5 p.m. The sun".
_STARTS = re.compile(r"\s+(?:The|A|An|She|He|It|They|This|These|There|Her|His|Its|Their|In|On|Behind|Above|Below)\s")

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_LETTERS_ALONE = bytes(sign if chr(sign).isalnum() else 32 for sign in range(256))


def _set(words: str) -> frozenset[str]:
    return frozenset(re.findall(r"\S+", words))


_LEADING = _set("a an the")
_ARTICLES = _set(
    "a an the this these there two three several some his her its their one "
    "ein eine der die das un une le la les des una el los las uno il lo gli um uma o os as"
)
# Verbs and pronouns that hardly stand in a tag.
_SAYS = _set(
    "is are was were has have had does appears seems shows depicts features wears sits stands holds looks captures reveals fills "
    "displays showcases takes lies hangs rests extends covers surrounds contains rises sleeps runs walks smiles she he they there "
    "which who it's she's he's ist sind est sont elle está tiene"
)
# What somebody does to something: "A man in Austin, Texas, rides a bike."; a plural of tags has no article behind it.
_DOES = re.compile(r"\b[a-z]{2,}s (?:a|an|the|his|her|its|their)\b")
# What joins the words of a sentence; among tags it stands inside of one at most.
_JOINS = _ARTICLES | _set(
    "and of in on with to at by from for but while as und mit et avec dans y con en e di com "
    "и в во на с со у к из за под над от для по على في من مع إلى"
)
# With a capital behind a comma these begin a sentence: tags are in front of it.
_BEGINS = re.compile(r",\s*(?:A|An|The|This|These|There|She|He|It|They|In|On|At|Her|His)\s")
# In front of a comma these end a name: "tenshi no 3p!, night".
_NAMED = re.compile(rf"[!?]+[{COMMAS}]")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# Tags in front of a sentence are of no more words, and behind another no more with an article ("the moon (tarot)"); a trigger may be one word with a capital.
_TAG_WORDS, _TRIGGER = 9, re.compile(r"[^\W_][\w-]*")
# In words a piece between commas, or signs of a script without blanks: tags are shorter.
_WORDS_A_NAME = 3
_WORDS_A_PIECE, _SIGNS_A_PIECE = 5, 8


class Segment(NamedTuple):
    """What stands between two ends of sentences.

    Attributes
    ----------
    start, end
        Of the words, in the caption.
    stop
        The full stop behind it; None behind the last one, and where a quotation ends the sentence.
    is_sentence
        Whether it reads as one; else it is a list of tags.
    lead
        Where the sentence begins: behind the tags in front of it ("sksperson, A woman stands in a park.").
    """

    start: int
    end: int
    stop: Mark | None
    is_sentence: bool
    lead: int


def segments(caption: str, scanned: Scanned, style: str) -> list[Segment]:
    """Cut a caption at the ends of its sentences; one without any is one segment, whatever full stops it holds.

    On 200 descriptions of photographs (Google's ImageInWords) it cuts 1,837 sentences, pysbd 1,838, sentencex 1,841 and
    nupunkt 1,819; in lists of tags the first two of these cut names such as "super smash bros. ultimate".

    Parameters
    ----------
    caption
        The whole line.
    scanned
        What `datakit.caption.scan.scan` found in it.
    style
        ``tags`` cuts nothing, ``sentences`` at every full stop that is none of an abbreviation, ``auto`` where a
        stop ends words that read as a sentence.
    """
    ends = [] if style == "tags" else _ends(caption, scanned)
    found: list[Segment] = []
    start = 0
    for end in (*ends, None):
        at, behind = (len(caption), len(caption)) if end is None else (end.start, end.end)
        if end is None and not caption[start:].strip(f" \t{COMMAS}"):
            break
        stop = end if at < behind else None
        found.append(Segment(start, at, stop, is_sentence=style == "sentences", lead=start))
        start = behind
    if style != "auto":
        return _merged(caption, found, [2] * len(found)) if style == "sentences" else found
    return _judged(caption, found, scanned.commas, ended=bool(ends) and ends[-1].end >= len(caption.rstrip()))


def abbreviates(caption: str, at: int) -> bool:
    """Tell whether the full stop there belongs to the word before it."""
    last = caption[max(0, at - _LONGEST) : at].rpartition(" ")[2]
    if len(last) > 1 and last.isalpha() and last.casefold() not in _SHORTENED:
        return False  # as most words
    word = _LAST_WORD.search(caption, max(0, at - _LONGEST), at)
    if word is None:
        return False
    spelt = word[0].casefold()
    if _MEASURED.search(caption, max(0, at - _LONGEST), at):
        return caption[at + 1 :].lstrip()[:1].islower()
    if _NUMBERED.fullmatch(spelt):
        return caption[at + 1 : at + 3].strip()[:1].isdigit()
    # Scripts without cases (Chinese, for one) write whole words with one letter.
    letters = _LETTERS.fullmatch(spelt) is not None and word[0].lower() != word[0].upper()
    if letters or _ABBREVIATIONS.fullmatch(spelt):
        return not _STARTS.match(caption, at + 1)
    return False


def _ends(caption: str, scanned: Scanned) -> list[Mark]:
    """Return what may end a sentence: full stops of no abbreviation, and quotations with a stop inside."""
    ends = [
        stop
        for stop in scanned.stops
        if not (abbreviates(caption, stop.start) if caption[stop.start : stop.end] == "." else _NAMED.match(caption, stop.start))
    ]
    ends += [
        Mark(span.end, span.end)
        for span in scanned.spans
        if caption[span.end - 2] in ".!?…" and re.match(r"\s+[^\W\d_a-z]", caption[span.end : span.end + 3])
    ]
    return sorted(ends)


def _judged(caption: str, found: list[Segment], commas: list[int], *, ended: bool) -> list[Segment]:
    """Tell sentences from tags, and undo the cuts behind what is neither end nor beginning of a sentence."""
    found = [Segment(one.start, one.end, one.stop, is_sentence=False, lead=_lead(caption, one, commas)) for one in found]
    read = [_reads(caption[segment.lead : segment.end], _commas_in(commas, segment)) for segment in found]
    if found and not ended:
        # What no full stop ends is a list of tags, unless it goes on from sentences as one of them.
        listed = caption[found[-1].start :].lstrip()[:1] in tuple(COMMAS)
        goes_on = len(found) > 1 and not listed and (read[-1] == 2 or not _commas_in(commas, found[-1]))
        read[-1] = read[-1] if goes_on else 0
    spelt = [caption[segment.start : segment.end].lstrip(f" \t{COMMAS}")[:1] for segment in found]
    plain = len(found) > 1 and not commas and all(first.isupper() for first in spelt)
    if 2 not in read and sum(level > 0 for level in read) < 2 and not plain:
        return [Segment(0, len(caption), None, is_sentence=False, lead=0)]
    return _merged(caption, found, [2 if plain else level for level in read])


def _lead(caption: str, segment: Segment, commas: list[int]) -> int:
    """Return where the first words with a capital begin, if there are only tags in front of them."""
    start = segment.start
    inside = commas[bisect_left(commas, segment.start) : bisect_left(commas, segment.end)]
    for comma in (*inside, segment.end):
        piece = caption[start:comma].strip()
        if piece[:1].isupper():
            follows = caption[comma + 1 : segment.end].lstrip() if _TRIGGER.fullmatch(piece) else ""
            if not (follows[:1].isupper() or _BEGINS.search(follows)):
                break
        if comma == segment.end:
            return segment.start
        words = piece.lower().split()
        if len(words) > _TAG_WORDS or not _SAYS.isdisjoint(words):
            return segment.start
        if words and words[0] in _LEADING and (start == segment.start or len(words) > _WORDS_A_NAME):
            return segment.start
        start = comma + 1
    return start + len(caption[start : segment.end]) - len(caption[start : segment.end].lstrip())


def _merged(caption: str, found: list[Segment], read: list[int]) -> list[Segment]:
    """Join the segments between which no sentence ends."""
    kept: list[Segment] = []
    levels: list[int] = []
    for segment, level in zip(found, read, strict=True):
        words = caption[segment.start : segment.end].lstrip()
        begins = not words[:1].islower()
        if kept and levels[-1] == 0 and level == 2 and segment.lead > segment.start:
            # The stop belongs to a tag in front of the sentence: "cardfight!! vanguard, A woman stands in a park."
            kept[-1] = segment._replace(start=kept[-1].start)
            levels[-1] = level
        elif kept and not (levels[-1] and (begins or levels[-1] == 2)) and not (level == 2 and begins):
            kept[-1] = segment._replace(start=kept[-1].start, lead=kept[-1].start)
            levels[-1] = min(levels[-1], level)
        else:
            kept.append(segment)
            levels.append(level)
    return [Segment(one.start, one.end, one.stop, level > 0, one.lead) for one, level in zip(kept, levels, strict=True)]


def _commas_in(commas: list[int], segment: Segment) -> int:
    return bisect_left(commas, segment.end) - bisect_left(commas, segment.lead)


def _reads(text: str, commas: int) -> int:
    """Tell how sure it is that words are a sentence: 0 they are tags, 1 they may be one among others, 2 they are."""
    signs = 0 if text.isascii() else len(_UNSPACED.findall(text))
    if signs * 2 > len(text.strip()):
        return 2 if signs >= _SIGNS_A_PIECE * (commas + 1) else 0
    words = _words(text)
    if len(words) < 2 or (all(word[0].isupper() or not word[0].isalpha() for word in words)):
        return 0  # a name: "Super Smash Bros. Ultimate"
    a_piece = len(words) / (commas + 1)
    if a_piece >= _WORDS_A_PIECE:
        return 2
    lower = [word.lower() for word in words]
    says = not _SAYS.isdisjoint(lower) or (lower[0] in _ARTICLES and _DOES.search(text) is not None)
    if (len(words) > 2 and a_piece > 2 and says) or (not commas and len(words) > 3 and lower[0] in _ARTICLES):
        return 2
    capital = words[0][0].isupper() or (words[0][0].lower() == words[0][0].upper() and not words[0][0].isdigit())
    if commas or not capital:
        return (
            1
            if (capital and not _JOINS.isdisjoint(lower))
            or (says and capital)
            or (not commas and len(words) > 2 and lower[0] in _ARTICLES)
            else 0
        )
    return 2 if len(words) > 2 and lower[0] in _ARTICLES | {"it"} else 1


def _words(text: str) -> list[str]:
    """Return the words of a text; of plain ASCII as the pattern finds them, but sooner."""
    plain = text.isascii() and "'" not in text and "-" not in text
    return text.encode().translate(_LETTERS_ALONE).decode().split() if plain else _WORD.findall(text)


def closes(text: str) -> bool:
    """Tell whether words end with a sign that ends a sentence by itself."""
    return text.rstrip("\"'”’»)]」』）")[-1:] in tuple(f".!?…؟۔।{WIDE_STOPS}")
