"""Tell the encoding of captions that are not UTF-8 by what their signs would be, alone or together with their folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

# What a file begins with that says its own encoding; the longer mark of UTF-32 first.
MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
NAMES = {
    "cp1252": "Windows-1252",
    "cp1251": "Windows-1251",
    "koi8_r": "KOI8-R",
    "gb18030": "GBK",
    "big5": "Big5",
    "cp932": "Shift-JIS",
    "euc_jp": "EUC-JP",
    "cp949": "EUC-KR",
    "utf_16_le": "UTF-16",
    "utf_16_be": "UTF-16",
}
# What `agree` returns where a folder speaks against Western European.
UNTOLD = "untold"
# How much of a text has to be common in its script, and how much more than in the next likely one.
_COMMON, _AHEAD = 0.9, 0.1
# As few signs may be common in another script by chance: 0.6 of all Chinese ones are Korean syllables in EUC-KR.
_FEWEST = 5
_ENOUGH = 1 << 16
_WESTERN = re.compile(r"[ÀÂÄÅÃÁÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàâäåãáæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽž]")
_PRINT = re.compile(r"[‘’“”„‚–—…«»‹›°€£§©®™·•¡¿×½¼¾²³´`\u00a0]")
# Signs that stand at the edge of words in Western European, and are letters inside of words elsewhere (Polish, for one).
_NO_LETTER = re.compile(r"[£¥¼½¾²³](?=[^\W\d_])|(?<=[^\W\d_])(?:[¿¡£¥¼½¾§](?=[^\W\d_])|[‚„])")
_WORD = re.compile(r"[^\W\d_]+")
_AMONG = re.compile(rb"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]")
_KANA = re.compile(r"[\u3041-\u30ff]")
# Russian words: of three letters and more they hold a vowel.
_CYRILLIC = re.compile(r"[А-яЁё]{1,2}|[А-яЁё]*[аеёиоуыэюяАЕЁИОУЫЭЮЯ][А-яЁё]*")
_COMMON_LETTERS = re.compile(r"[оеаинтсрвл]")
_MIXED = re.compile(r"(?<=[A-Za-z])[^\W\d_A-Za-z]|[^\W\d_A-Za-z](?=[A-Za-z])")
# Signs that any of these scripts uses; they tell nothing.
_SHARED = re.compile(r"[\x00-\x7f\u3000-\u303f\uff00-\uff65\u2010-\u2027\ufffd]")


def tell(data: bytes) -> str | None:
    """Return the encoding of a text that is not UTF-8; None where that cannot be told."""
    if b"\x00" in data:
        return _wide(data)
    if _is_western(data):
        return "cp1252"
    scores = {name: _score(data, name, common) for name, common in _COMMON_IN.items()}
    if scores["cp949"] == 1:
        # Korean syllables lie where the commonest Chinese signs do: a text of nothing else is Korean.
        scores |= {"gb18030": 0.0, "big5": 0.0}
    (best, name), (next_best, _) = sorted(((score, name) for name, score in scores.items()), reverse=True)[:2]
    if best < _COMMON or best - next_best < _AHEAD:
        return None
    return None if name in ("cp1251", "koi8_r") and not _letters_are_common(data, name) else name


def is_utf8(data: bytes) -> bool:
    """Tell whether a text is UTF-8, or says by its mark what it is."""
    return _decodes(data, "utf-8") or any(data.startswith(mark) for mark, _ in MARKS)


def agree(captions: Iterable[bytes]) -> str | None:
    """Return the encoding that all captions of a folder that are not UTF-8 have in common; None where it cannot be told.

    Together they tell what one of a few words does not. Where one of them is of Latin letters and cannot be told, `UNTOLD`
    says that the others are not to be taken for Western European, which Polish, Czech or Turkish captions may look like.
    """
    others = [data for data in captions if not is_utf8(data) and b"\x00" not in data]
    found = tell(b"\n".join(others)[:_ENOUGH]) if len(others) > 1 else None
    if found and all(_decodes(data, found) for data in others):
        return found
    return UNTOLD if len(others) > 1 and any(_is_latin(data) and tell(data) is None for data in others) else None


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_latin(data: bytes) -> bool:
    """Tell whether a text is mostly plain letters, with others among them."""
    return len(re.findall(rb"[A-Za-z]", data)) >= 2 * len(re.findall(rb"[\x80-\xff]", data)) and _AMONG.search(data) is not None


def _wide(data: bytes) -> str | None:
    """Tell UTF-16 without a mark by its zero bytes, which stand at one side of commas and blanks."""
    if len(data) % 2:
        return None
    for name, zeros in (("utf_16_le", data[1::2]), ("utf_16_be", data[::2])):
        others = data[::2] if name == "utf_16_le" else data[1::2]
        if zeros.count(0) and not others.count(0) and _decodes(data, name) and "".join(data.decode(name).split()).isprintable():
            return name
    return None


def _is_western(data: bytes) -> bool:
    """Tell whether a text is Western European: single accented letters among plain ones, no run of three."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    others = re.sub(r"[\x00-\x7f]", "", _PRINT.sub("", text))
    if _NO_LETTER.search(text):
        return False
    if _WESTERN.sub("", others):
        return False
    for word in _WORD.findall(text):
        accented = sum(sign > "\x7f" for sign in word)
        if accented > 1 and accented * 2 >= len(word):
            return False
    return True


def _letters_are_common(data: bytes, name: str) -> bool:
    """Tell whether the letters of a Russian text are at least as common as in the other encoding, where they have other cases."""

    def share(encoding: str) -> float:
        letters = "".join(_CYRILLIC.findall(data.decode(encoding, "replace"))).lower()
        return len(_COMMON_LETTERS.findall(letters)) / max(1, len(letters))

    return share(name) >= share("koi8_r" if name == "cp1251" else "cp1251")


def _score(data: bytes, encoding: str, common: Callable[[list[str]], float]) -> float:
    """Return which share of a text's own signs are common ones, if it is read so."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return -1.0
    words = _SHARED.sub(" ", text).split()
    length = sum(map(len, words))
    # Signs of other scripts that stand in the middle of Latin words are accented letters, read wrongly.
    mixed = len(_MIXED.findall(text))
    return common(words) / length if length >= _FEWEST and mixed * 4 <= length else -1.0


def _in_rows(words: list[str], encoding: str, first: int, last: int) -> int:
    """Count the signs in these rows of a character set: that is where the common ones were put."""
    return sum(first <= sign.encode(encoding, "replace")[0] <= last for word in words for sign in word)


def _japanese(words: list[str]) -> int:
    kana = any(map(_KANA.search, words))
    return _in_rows(words, "euc_jp", 0xA4, 0xA5) + _in_rows(words, "euc_jp", 0xB0, 0xCF) if kana else 0


def _korean(words: list[str]) -> int:
    return sum(sign in _KSX for word in words for sign in word)


def _russian(words: list[str]) -> float:
    """Count the letters in words whose case is that of words, a capital first or none; half of those in capitals alone."""
    count = 0.0
    for word in filter(_CYRILLIC.fullmatch, words):
        count += len(word) if word[1:].islower() or len(word) == 1 else len(word) / 2 if word.isupper() else 0
    return count


_KSX = frozenset(bytes((row, cell)).decode("euc_kr") for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF))
_COMMON_IN: dict[str, Callable[[list[str]], float]] = {
    "gb18030": lambda words: _in_rows(words, "gb2312", 0xB0, 0xD7),
    "big5": lambda words: _in_rows(words, "big5", 0xA4, 0xC6),
    "cp932": _japanese,
    "euc_jp": _japanese,
    "cp949": _korean,
    "cp1251": _russian,
    "koi8_r": _russian,
}
