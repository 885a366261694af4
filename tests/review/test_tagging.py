"""Captions with a token taken out or put in, as the page asks for them: no group is torn, nothing else is changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.caption.tokens import split
from datakit.review.tagging import Asked, answer, put_in, take_out, tokens_of

PIECES = [
    "red car",
    "(a, b:1.4)",
    "[hat, scarf]",
    '"STOP, LOOK"',
    "1,000 birds",
    "{x, y|z}",
    "night",
    "super smash bros. ultimate",
]


@pytest.mark.parametrize(
    ("caption", "words", "left"),
    [
        ("a, (b, a:1.4), A", "a", "(b, a:1.4)"),
        ("a, (b, a:1.4), c", "(b, a:1.4)", "a, c"),
        ("猫、公園，空", "公園", "猫、空"),
        ("a BREAK b, c BREAK d", "b", "a BREAK c BREAK d"),
        ("A dog runs on a lawn. The sky is blue. night", "The sky is blue", "A dog runs on a lawn. night"),
        ("A woman in Austin, Texas, rides a bike. A dog, brown, is near.", "Texas", None),
        ("a, b\nB\nc, b", "b", "a\nc"),
        ("a", "a", ""),
        ("a ,  b", "c", None),
    ],
)
def test_a_token_is_taken_out_and_nothing_else(caption, words, left):
    assert take_out(caption, words) == (caption if left is None else left)


@pytest.mark.parametrize(
    ("caption", "words", "after"),
    [
        ("a, b", "c", "a, b, c"),
        ("a, red hat.", "c", "a, red hat, c."),
        ("猫、公園", "空", "猫、公園、空"),
        ("A dog runs on a lawn. The sky is blue.", "night", "A dog runs on a lawn. The sky is blue. night."),
        ("(red light, x), b", "red light", "(red light, x), b, red light"),
        ("a, Red Light", "red light", "a, Red Light"),
        ("a\nb, c", "c", "a, c\nb, c"),
    ],
)
def test_a_token_is_put_in_once(caption, words, after):
    assert put_in(caption, words) == after


@given(st.lists(st.sampled_from(PIECES), min_size=1), st.sampled_from(PIECES))
def test_tokens_are_those_that_shuffle_moves(pieces, words):
    caption = ", ".join(pieces)
    assert tokens_of(caption) == pieces
    assert list(split(take_out(caption, words))) == [piece for piece in pieces if piece != words]
    assert list(split(put_in(caption, words))) == [*pieces, *([] if words in pieces else [words])]


def test_the_page_is_answered_in_turn():
    assert answer(Asked(["a, b", "c BREAK a"])) == [["a", "b"], ["c", "a"]]
    assert answer(Asked(["a, b", "c"], take="a")) == ["b", "c"]
    assert answer(Asked(["a, b", "c"], put="a")) == ["a, b", "c, a"]
