"""Splitting captions into tokens, and their orders."""

from __future__ import annotations

from collections import Counter
from itertools import islice, permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datakit.caption.captions import swap_sides, written_word
from datakit.caption.lines import likely_separator
from datakit.caption.tokens import (
    STYLES,
    Splitting,
    count_orders,
    fill_wildcards,
    format_tokens,
    join,
    orders,
    parse,
    split,
    without,
)
from datakit.errors import UsageError
from datakit.seeds import generator

captions = st.text(
    st.sampled_from("ab st.no5 ,,..{|}é猫🚗\tAB()[]\"'、。!")
    | st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])
)
tokens = st.lists(st.sampled_from(["red car", "wet street", "night", "3.5 mm", "st. peter", "🚗", "x"]), max_size=7)


def draw(copy):
    return generator(42, "a.jpg", "shuffle", copy)


def blank(text):
    """A text without its blanks."""
    return "".join(text.split())


@pytest.mark.parametrize(
    ("caption", "expected", "style"),
    [
        ("red car, wet street,night", ["red car", "wet street", "night"], "tags"),
        ("A dog on a lawn. A cat sits. night", ["A dog on a lawn", "A cat sits", "night"], "both"),
        ("3.5 mm, f/1.8. Portrait of st. peter, soft light.", ["3.5 mm", "f/1.8. Portrait of st. peter", "soft light"], "tags"),
        ("J. S. Bach at 5 p.m. in the U.S. Army, e.g. this", ["J. S. Bach at 5 p.m. in the U.S. Army", "e.g. this"], "tags"),
        ("mr. fox vs. dr. dog, trees, etc. and more", ["mr. fox vs. dr. dog", "trees", "etc. and more"], "tags"),
        ("super smash bros. ultimate, ..., ._., super mario bros.", ["super smash bros. ultimate", "...", "._.", "super mario bros."], "tags"),
        ("Super Smash Bros. Ultimate, Jan. 5, Ph.D., 5 oz. steak", ["Super Smash Bros. Ultimate", "Jan. 5", "Ph.D.", "5 oz. steak"], "tags"),
        ("1girl, solo, nanashi inc.", ["1girl", "solo", "nanashi inc."], "tags"),
        ("1girl, oregairu machigatteiru.", ["1girl", "oregairu machigatteiru."], "tags"),
        ("wait... what, photo.jpg, a..b", ["wait... what", "photo.jpg", "a..b"], "tags"),
        (" ,, . ,x,  ", [",,", ".", "x"], "tags"),
        ("She sits at 5 p.m. The sun is low.", ["She sits at 5 p.m", "The sun is low"], "sentences"),
        ("a girl sits on a bench. she reads a book. her dog sleeps.", ["a girl sits on a bench", "she reads a book", "her dog sleeps"], "sentences"),
        ("Close-up. Soft light. Film grain.", ["Close-up", "Soft light", "Film grain"], "sentences"),
        ('A sign reads "STOP. LOOK." The road is empty! Yes, it is.', ['A sign reads "STOP. LOOK."', "The road is empty!", "Yes, it is"], "sentences"),
        ("She sleeps by a tree., 1girl, bench", ["She sleeps by a tree", "1girl", "bench"], "both"),
        ("sksperson, A woman stands in a park, wearing a hat. She smiles at us.", ["sksperson", "A woman stands in a park, wearing a hat", "She smiles at us"], "both"),
        ("一个女孩，红色头发、公园；长椅。蓝天", ["一个女孩", "红色头发", "公园", "长椅", "蓝天"], "tags"),
        ("一个年轻的女孩坐在公园的长椅上，她在看一本书。她的狗在旁边睡觉。", ["一个年轻的女孩坐在公园的长椅上，她在看一本书", "她的狗在旁边睡觉"], "sentences"),
        ("فتاة، شعر أحمر، حديقة", ["فتاة", "شعر أحمر", "حديقة"], "tags"),
        ("빨간 머리, 초록 눈, 공원", ["빨간 머리", "초록 눈", "공원"], "tags"),
        ("2girls, park BREAK red hair BREAK blue dress", ["2girls", "park", "BREAK", "red hair", "BREAK", "blue dress"], "tags"),
        ("A man in Austin, Texas, rides a bike.", ["A man in Austin, Texas, rides a bike"], "sentences"),
        ("A woman, trees in the background, clouds.", ["A woman", "trees in the background", "clouds"], "tags"),
        ("a girl, who is 5 ft. 3 in. tall, sits.", ["a girl, who is 5 ft. 3 in. tall, sits"], "sentences"),
        ("Девушка сидит на скамейке, читает книгу. Собака спит рядом.", ["Девушка сидит на скамейке, читает книгу", "Собака спит рядом"], "sentences"),
        ("امرأة تجلس على مقعد، تقرأ كتابا. الكلب نائم؟", ["امرأة تجلس على مقعد، تقرأ كتابا", "الكلب نائم؟"], "sentences"),
        ("लड़की बैठी है। कुत्ता सो रहा है।", ["लड़की बैठी है", "कुत्ता सो रहा है"], "sentences"),
        ("ohwx, A dog runs on a lawn. A cat sits in a tree., is hot (meme), the moon (tarot)", ["ohwx", "A dog runs on a lawn", "A cat sits in a tree", "is hot (meme)", "the moon (tarot)"], "both"),
        ("precure!, the moon (tarot), A dog runs on a lawn.", ["precure!", "the moon (tarot)", "A dog runs on a lawn"], "both"),
        ("red hat, cardfight!! vanguard, In a park, a dog runs on a lawn.", ["red hat", "cardfight!! vanguard", "In a park, a dog runs on a lawn"], "both"),
        ("ohwx, devil summoner: kuzunoha vs the soulless army, A dog runs on a lawn.", ["ohwx", "devil summoner: kuzunoha vs the soulless army", "A dog runs on a lawn"], "both"),
        ("a dog, Rex, runs on a lawn. It is wet.", ["a dog, Rex, runs on a lawn", "It is wet"], "sentences"),
        ("a، BREAK، b", ["a", "، BREAK،", "b"], "tags"),
        ("。", ["。"], "tags"),
        (" , ", [","], "tags"),
        ("", [], "tags"),
    ],
)  # fmt: skip
def test_splits_at_commas_and_where_sentences_end(caption, expected, style):
    assert list(split(caption)) == expected
    assert parse(caption).style == style


@pytest.mark.parametrize(
    "group",
    [
        "(glasses, eyewear:1.4)", "[hat, scarf]", "{a, b|c}", "<lora:x:1>", '"STOP, LOOK"', "“STOP, LOOK”", "'hello, world'", "1,000 birds",
        "16:9", r"miku \(vocaloid\)", r"miku \(vocaloid, append\)", r":\(", "3,5 mm lens", "1.000,50 €", "((a, b), c)", "「止まれ、見ろ」", "«halt, schau»", "(a, :), b)",
    ],
)  # fmt: skip
def test_a_group_is_one_token(group):
    assert split(f"red car, {group}, night, :(, (;") == ("red car", group, "night", ":(", "(;")


@pytest.mark.parametrize(
    "caption",
    [
        "a (b, c",
        "a), b",
        'a "b, c',
        "the '90s, the '80s",
        "5' tall, 6' wide",
        "women's, men's",
        '12", 24"',
        "chip 'n dale, spas-12 (girls' frontline)",
    ],
)
def test_half_a_group_is_none(caption):
    assert split(caption) == tuple(word.strip() for word in caption.split(","))


@pytest.mark.parametrize(
    ("caption", "separator", "expected"),
    [("a. b; c, d;e", ";", "a. b; c, d; e"), ("a, b. c", ",", "a, b. c"), ("a b  c", " ", "a b c"), ("a | b|c", "|", "a| b| c")],
)
def test_a_separator_of_ones_own_is_taken_as_it_is(caption, separator, expected):
    splitting = Splitting(separator)
    assert join(split(caption, splitting), separator) == expected
    assert blank(written(parse(caption, splitting=splitting))) == blank(caption)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("ohwx; red hair; park", ";"), ("ohwx | red hair | park", "|"), ("1girl solo long_hair", " "), ("a red_hat", None),
        ("a dog on a lawn", None), ("red; green; blue, x", None), ("He is; she is; it is.", None), ("a; b", None), ("", None),
    ],
)  # fmt: skip
def test_what_seems_to_separate_tags_is_told(caption, expected):
    assert likely_separator(caption) == expected


def test_the_style_can_be_said():
    caption = "A dog, brown and big, runs. Night. tags, more"
    assert split(caption, Splitting(style="tags")) == ("A dog", "brown and big", "runs. Night. tags", "more")
    assert split(caption, Splitting(style="sentences")) == ("A dog, brown and big, runs", "Night", "tags, more")
    with pytest.raises(UsageError, match="choose from auto, tags, sentences"):
        Splitting(style="prose")
    with pytest.raises(UsageError, match="give a separator or the style sentences"):
        Splitting(";", "sentences")


def written(tokens):
    """The caption of all tokens in their own order."""
    return format_tokens(tokens.whole, tokens.end)


@given(captions, st.sampled_from(STYLES))
def test_tokens_in_their_own_order_are_the_caption_but_for_blanks_and_read_again_the_same(caption, style):
    tokens = parse(caption, splitting=Splitting(style=style))
    assert blank(written(tokens)) == blank(caption)
    assert parse(written(tokens), splitting=Splitting(style=style)) == tokens


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["red car", "A man", "The woman sits and reads", "It is here", "no", "etc", "x_", "5", ""])
            | st.sampled_from(["it's", "'n'", "girls'", "50%", "1,000", "3,5 mm", "猫", "(a, b)", ":)", "-", "BREAK"]),
            st.sampled_from([", ", ". ", ".", ",", ".  ", "... ", " ,"])
            | st.sampled_from(["! ", "，", "。", "’", '"', "\\", "\t", "\x1c"]),
        ).map("".join),
        max_size=7,
    ).map("".join),
    st.sampled_from(STYLES),
)
@example("a car, 'night, a sky', red. The woman sits and reads.", "auto")
@example("It is 50%. The woman sits and reads.", "auto")
@example("1,000 red cars. The woman sits and reads.", "auto")
@example("a trigger, blue sky, red car. The woman of the house is in the car, with a man.", "auto")
@example("a sky, , a car. The woman sits and reads.", "sentences")
@example("night, , A woman sits and reads.", "auto")
@example("The woman sits and reads.  ,", "sentences")
@example("The woman sits and reads... The man is here.", "auto")
@example("The woman sits and reads.A man is..here. It is x.. A man is here.", "auto")
def test_the_short_ways_through_plain_captions_lead_where_the_long_one_does(caption, style):
    soon = parse(caption, splitting=Splitting(style=style))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datakit.caption.scan._plain", lambda _: None)
        patch.setattr("datakit.caption.tokens._written", lambda *_: None)
        assert parse(caption, splitting=Splitting(style=style)) == soon


@given(
    st.lists(
        st.sampled_from(["red car", "(a, b)", "[c, (d, e)]", '"f, g"', "1,000", "{h, i|j}", "k", ":)", "<lora:l:1>"]), min_size=1
    ),
    st.randoms(),
)
def test_no_group_is_ever_torn(pieces, chance):
    caption = ", ".join(pieces)
    assert split(caption) == tuple(pieces)
    order = list(parse(caption).movable)
    chance.shuffle(order)
    assert Counter(split(format_tokens(order))) == Counter(pieces)


@given(captions)
def test_tags_read_the_same_in_any_order(caption):
    tokens = parse(caption, splitting=Splitting(style="tags"))
    movable = [token for token in tokens.movable if not token.fixed and "," not in token.text and token.text[-1:].isalnum()]
    assert [token.text for token in parse(format_tokens(movable[::-1]), splitting=Splitting(style="tags")).movable] == [
        token.text for token in movable[::-1]
    ]


@given(captions, st.integers(0, 9))
def test_the_first_tokens_are_kept_and_none_is_lost(caption, keep):
    parsed = parse(caption, keep)
    assert sum(not token.fixed for token in parsed.head) == min(keep, sum(not token.fixed for token in parsed.whole))
    for order in islice(orders(parsed.movable, draw, pinned=parsed.pinned), 4):
        assert Counter((*parsed.head, *order)) == Counter(parse(caption).movable)
        assert [order[place] for place in parsed.pinned] == [parsed.movable[place] for place in parsed.pinned]


def test_a_sentence_that_ends_by_itself_gets_no_full_stop_of_another():
    tokens = parse("Is the car red? It is a red one.")
    assert format_tokens(tokens.whole[::-1], tokens.end) == "It is a red one. Is the car red?"


def test_a_sentence_that_ends_by_itself_keeps_a_full_stop_of_its_own():
    caption = 'She walks by. A wall is painted with the word "RIOT!".'
    tokens = parse(caption)
    assert written(tokens) == caption
    assert format_tokens(tokens.whole[::-1], tokens.end) == 'A wall is painted with the word "RIOT!". She walks by.'


def texts(parsed):
    return tuple(tuple(token.text for token in part) for part in (parsed.head, parsed.movable, parsed.tail))


def test_a_keep_separator_decides_instead_of_a_number():
    assert texts(parse("a, b|||c, d", 1, "|||")) == (("a", "b"), ("c", "d"), ())
    assert texts(parse("a|||b, c|||d", 1, "|||")) == (("a",), ("b", "c"), ("d",))
    assert texts(parse("a, b", 1, "|||")) == (("a",), ("b",), ())
    assert written(parse("a, b|||c, d.", 1, "|||")) == "a, b, c, d."


def test_break_keeps_its_place_and_nothing_crosses_it():
    parsed = parse("a, b, c BREAK d, e BREAK f", 1)
    assert count_orders(parsed.movable, pinned=parsed.pinned) == 4
    found = {format_tokens((*parsed.head, *order)) for order in islice(orders(parsed.movable, draw, pinned=parsed.pinned), 4)}
    assert found == {f"a, {one} BREAK {two} BREAK f" for one in ("b, c", "c, b") for two in ("d, e", "e, d")}


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
    some = parse("a, b BREAK c").movable
    assert without(some, 0, draw(1)) == some
    assert [token.text for token in without(some, 1, draw(1))] == [" BREAK "]
    assert 4_700 < len(without(some[:1] * 10_000, 0.5, draw(1))) < 5_300


def test_wildcards_choose_one_and_are_not_split():
    assert split("{red, wet|blue} car, night") == ("{red, wet|blue} car", "night")
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


@pytest.mark.parametrize(
    ("tags", "sentences", "more"),
    [
        (["sksperson"], ["A high-angle, close-up shot captures a round, golden pancake resting on a plate"], []),
        (
            ["ohwx_man", "suit", "neon (pixiv 31150749)"],
            ["Captured from a low angle, two totem poles stand by a wall, their paint faded"],
            [],
        ),
        (
            [],
            ["In a long shot, a town sprawls before hills", "Its roofs, red and brown, shine"],
            ["1girl", "blue hat", "super smash bros."],
        ),
        (["Ohwx", "white bra"], ["A man in Austin, Texas, walks to work on a wet street"], ["night"]),
    ],
)
def test_tags_in_front_of_sentences_and_behind_them_are_tokens_of_their_own(tags, sentences, more):
    caption = ", ".join([*tags, f"{'. '.join(sentences)}.", *more])
    assert split(caption) == (*tags, *sentences, *more)
    assert parse(caption).style == ("both" if tags or more else "sentences")
