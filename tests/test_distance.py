"""Captions fitted to closer crops."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit.caption.distance import distance_word, fit


@pytest.mark.parametrize(
    ("heights", "word"),
    [(1.4, "close-up"), (2.2, "portrait"), (3.2, "upper body"), (5.0, "cowboy shot"), (7.9, "cowboy shot"), (8.0, "full body")],
)
def test_the_word_goes_by_face_heights_down_to_the_lower_edge(heights, word):
    assert distance_word(heights) == word


@pytest.mark.parametrize(
    ("caption", "heights", "fitted"),
    [
        ("1girl, full body, red dress", 1.5, "1girl, red dress, close-up"),
        ("portrait, 1girl", 2.9, "portrait, 1girl"),
        ("(full_body:1.2), 1girl, BREAK, sky", 3.0, "1girl, BREAK, sky, portrait"),
        ("a woman on a bridge", 4.0, "a woman on a bridge, upper body"),
        ("A woman stands on a bridge.", 1.5, "A woman stands on a bridge. Close-up."),
        ("landscape, portrait orientation", 1.5, "landscape, portrait orientation, close-up"),
        ("full body", 1.5, "close-up"),
        ("1girl, full_body, black_hair", 4.0, "1girl, black_hair, upper_body"),
        ("1girl, BREAK, full body", 1.5, "1girl, BREAK, close-up"),
        ("a girl, full body, a bench.", 1.5, "a girl, a bench, close-up."),
        ("一个女孩，站立", 1.5, "一个女孩，站立，close-up"),
        ("一个女孩站在街上。", 1.5, "一个女孩站在街上。 Close-up。"),
    ],
)
def test_the_word_is_added_once_and_others_are_taken_out(caption, heights, fitted):
    assert fit((caption,), heights).lines == (fitted,)


def test_nothing_goes_silently():
    done = fit(("1girl, wide shot, brown boots, standing",), 1.5)
    assert done.lines == ("1girl, brown boots, standing, close-up",)
    assert [warning.kind for warning in done.warnings] == ["caption-fitted", "caption-beyond"]
    assert "wide shot" in done.warnings[0].sentence
    assert "brown boots, standing" in done.warnings[1].sentence
    trimmed = fit(("1girl, wide shot, brown boots, standing",), 1.5, trim=True)
    assert trimmed.lines == ("1girl, close-up",)
    assert all(word in trimmed.warnings[0].sentence for word in ("wide shot", "brown boots", "standing"))


def test_what_the_picture_reaches_down_to_stays():
    assert not fit(("1girl, standing, skirt",), 5.5).warnings
    assert fit(("1girl, standing, boots",), 5.5).warnings[0].kind == "caption-beyond"


def test_a_sentence_is_named_not_torn():
    done = fit(("A full-body photo of a woman walking in the street.",), 2.6)
    assert done.lines[0].startswith("A full-body photo of a woman walking in the street.")
    assert [warning.kind for warning in done.warnings] == ["caption-beyond", "caption-distance"]
    assert all(word in done.warnings[at].sentence for at, word in ((0, "walking"), (1, "full-body")))


def test_a_group_is_named_not_taken_out_with_all_that_is_in_it():
    done = fit(("(1girl, full body, boots:1.2), sky",), 1.5, trim=True)
    assert done.lines == ("(1girl, full body, boots:1.2), sky, close-up",)
    assert [warning.kind for warning in done.warnings] == ["caption-beyond", "caption-distance"]


WORDS = st.sampled_from(
    [
        "1girl",
        "full body",
        "(full_body:1.2)",
        "wide shot",
        "brown boots",
        "standing",
        "a woman in red shoes",
        "She walks.",
        "close-up",
        "portrait",
        "BREAK",
        "(boots, sky:1.1)",
        "{full body",
        "portrait}",
        "no shoes",
        "skirt",
        "全身",
        ", ",
        ". ",
        "upper body",
        "cowboy shot",
        "jeans...",
        "smile",
    ]
)


@settings(max_examples=200)
@given(st.lists(WORDS, min_size=1, max_size=7), st.floats(0.5, 12), st.booleans())
def test_no_word_is_lost_that_is_not_named(words, heights, trim):
    line = f"sky, {', '.join(words)}"
    done = fit((line,), heights, trim=trim)
    named = [word for each in done.warnings if each.kind == "caption-fitted" for word in re.findall(r"\w+", each.sentence)]
    before, after = (Counter(re.findall(r"\w+", each)) for each in (line, done.lines[0]))
    assert set(before - after) <= set(named)
    assert {word.lower() for word in after - before} <= set(distance_word(heights).replace("-", " ").split())
    again = fit(done.lines, heights, trim=trim)
    assert again.lines == done.lines


def test_every_line_is_fitted():
    assert fit(("a, full body", "b"), 1.5).lines == ("a, close-up", "b, close-up")
