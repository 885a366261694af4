"""Splitting captions into tokens, and their orders."""

from __future__ import annotations

from collections import Counter
from itertools import islice, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.caption.captions import swap_sides, written_word
from datakit.caption.tokens import Tokens, count_orders, fill_wildcards, join, orders, parse, split, without
from datakit.seeds import generator

captions = st.text(
    st.sampled_from("ab st.no5 ,,..{|}é猫🚗\t") | st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])
)
tokens = st.lists(st.sampled_from(["red car", "wet street", "night", "3.5 mm", "st. peter", "🚗", "x"]), max_size=7)


def draw(copy):
    return generator(42, "a.jpg", "shuffle", copy)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("red car, wet street,night", ["red car", "wet street", "night"]),
        ("A dog on a lawn. A cat. night", ["A dog on a lawn", "A cat", "night"]),
        ("3.5 mm, f/1.8. Portrait of st. peter, soft light.", ["3.5 mm", "f/1.8", "Portrait of st. peter", "soft light"]),
        ("J. S. Bach at 5 p.m. in the U.S. Army, e.g. this", ["J. S. Bach at 5 p.m. in the U.S. Army", "e.g. this"]),
        ("mr. fox vs. dr. dog, trees, etc. and more", ["mr. fox vs. dr. dog", "trees", "etc. and more"]),
        ("no. 5 street. he said no. half a fig. red", ["no. 5 street", "he said no", "half a fig", "red"]),
        ("wait... what, photo.jpg, a..b", ["wait", "what", "photo.jpg", "a..b"]),
        (" ,, . ,x,  ", ["x"]),
        ("猫. 犬", ["猫", "犬"]),
        ("", []),
    ],
)
def test_splits_at_commas_and_at_full_stops_that_end_a_sentence(caption, expected):
    assert list(split(caption)) == expected


@pytest.mark.parametrize(
    ("caption", "separator", "expected"),
    [("a. b; c, d;e", ";", "a. b; c, d; e"), ("a, b. c", ",", "a, b. c"), ("a b  c", " ", "a b c"), ("a | b|c", "|", "a| b| c")],
)
def test_a_separator_of_ones_own_is_taken_as_it_is(caption, separator, expected):
    assert join(split(caption, separator), separator) == expected


@given(captions)
def test_what_is_joined_splits_into_the_same_tokens_in_any_order(caption):
    found = split(caption)
    assert all(token and token == token.strip() and "," not in token for token in found)
    for order in (found, found[::-1], tuple(sorted(found))):
        assert split(join(order)) == order


@given(captions, st.integers(0, 9))
def test_the_first_tokens_are_kept_and_none_is_lost(caption, keep):
    parsed = parse(caption, keep)
    assert parsed.head == split(caption)[:keep]
    for order in islice(orders(parsed.movable, draw), 4):
        assert Counter((*parsed.head, *order)) == Counter(split(caption))


def test_a_keep_separator_decides_instead_of_a_number():
    assert parse("a, b|||c, d", 1, keep_separator="|||") == Tokens(("a", "b"), ("c", "d"))
    assert parse("a|||b, c|||d", 1, keep_separator="|||") == Tokens(("a",), ("b", "c"), ("d",))
    assert parse("a, b", 1, keep_separator="|||") == Tokens(("a",), ("b",))


@given(tokens)
def test_orders_are_distinct_as_long_as_there_are_any(movable):
    number = len(set(permutations(movable)))
    assert count_orders(movable) == number
    some = min(number, 30)
    assert len(set(islice(orders(movable, draw), some))) == some


@pytest.mark.parametrize("shuffle_first", [False, True])
def test_orders_come_round_again_evenly(shuffle_first):
    taken = Counter(islice(orders(["a", "b", "b"], draw, shuffle_first=shuffle_first), 9))
    assert set(taken.values()) == {3}


@given(tokens, st.integers(1, 8))
def test_the_order_of_a_copy_does_not_depend_on_how_many_are_taken(movable, taken):
    assert list(islice(orders(movable, draw), taken)) == list(islice(orders(movable, draw), 12))[:taken]


def test_the_first_order_is_the_original_unless_it_is_shuffled_too():
    movable = tuple("abcdefghij")
    assert next(orders(movable, draw)) == movable
    assert next(orders(movable, draw, shuffle_first=True)) != movable


def test_orders_of_very_long_captions_are_counted_without_delay():
    assert count_orders(["token"] * 200_000) == 1
    assert count_orders(map(str, range(200_000))) == 10**9


def test_orders_are_the_same_on_every_machine():
    # Drawn from SHA-256 and random() alone: if this changes, every dataset changes.
    assert ["".join(order) for order in islice(orders(tuple("abcd"), draw), 6)] == [
        "abcd",
        "bacd",
        "dabc",
        "cbda",
        "bcda",
        "badc",
    ]


def test_tokens_are_left_out_with_a_probability():
    assert without("abc", 0, draw(1)) == ("a", "b", "c")
    assert without("abc", 1, draw(1)) == ()
    assert 4_700 < len(without("x" * 10_000, 0.5, draw(1))) < 5_300


def test_wildcards_choose_one_and_are_not_split():
    assert split("{red, wet|blue} car, night", wildcards=True) == ("{red, wet|blue} car", "night")
    assert {fill_wildcards("{red|blue} {x} car", draw(copy)) for copy in range(20)} == {"red {x} car", "blue {x} car"}
    assert fill_wildcards("{|}", draw(1)) == ""


def test_left_and_right_are_swapped_in_their_own_case():
    assert swap_sides("Left hand, RIGHT side, looking_left, leftmost, bright upright") == (
        "Right hand, LEFT side, looking_right, rightmost, bright upright"
    )


@given(st.lists(st.sampled_from(["left", "Right", "LEFT", "rightmost", "hand", "_", "-", " ", ",", "é"])))
def test_swapping_sides_twice_changes_nothing(words):
    caption = "".join(words)
    assert swap_sides(swap_sides(caption)) == caption


def test_writing_is_noticed():
    assert written_word("a neon Sign at night") == "Sign"
    assert written_word("english_text, 1girl") == "text"
    assert written_word("design, context, a signal, password") is None
