"""The tokens of captions as the page lists them, and captions with one taken out or put in; no group is torn."""

from __future__ import annotations

import msgspec

from datakit.caption.tokens import Splitting, Token, format_tokens, parse

_AUTO = Splitting()


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some captions of which the page wants the tokens or, where it names one, themselves without it or with it."""

    captions: list[str]
    take: str | None = None
    put: str | None = None


def answer(asked: Asked) -> list[list[str]] | list[str]:
    """Answer for each caption in turn."""
    if asked.take is not None:
        return [take_out(caption, asked.take) for caption in asked.captions]
    if asked.put is not None:
        return [put_in(caption, asked.put) for caption in asked.captions]
    return [tokens_of(caption) for caption in asked.captions]


def tokens_of(caption: str) -> list[str]:
    """Return the tokens of all lines of a caption, but for those that have their places, as BREAK has."""
    return [token.text for line in caption.split("\n") for token in parse(line, splitting=_AUTO).whole if not token.fixed]


def take_out(caption: str, words: str) -> str:
    """Return a caption without a token, in whatever case; lines of which nothing else is left go with it."""
    return "\n".join(filter(None, (_without(line, words) for line in caption.split("\n"))))


def put_in(caption: str, words: str) -> str:
    """Return a caption with a token at the end of each line that lacks it."""
    return "\n".join(_with(line, words) for line in caption.split("\n"))


def _without(line: str, words: str) -> str:
    tokens = parse(line, splitting=_AUTO)
    left = [token for token in tokens.whole if token.fixed or not _same(token, words)]
    if len(left) == len(tokens.whole):
        return line
    return format_tokens(left, tokens.end) if not all(token.fixed for token in left) else ""


def _with(line: str, words: str) -> str:
    tokens = parse(line, splitting=_AUTO)
    if any(_same(token, words) for token in tokens.whole):
        return line
    return format_tokens((*tokens.whole, Token(words)), tokens.end)


def _same(token: Token, words: str) -> bool:
    return token.text.casefold() == words.casefold()
