"""What captions will teach, and where they are wrong: planted faults are named, and nothing else is."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.audit import captions as auditing
from datakit.audit.alike import Fingerprinted
from datakit.audit.captions import AuditedBy, audit_captions, plain
from datakit.audit.numbers import Numbers, sorting
from datakit.audit.phrases import Phrases
from datakit.audit.teaching import Counted, Planned
from datakit.audit.wording import estimate_tokens
from datakit.caption.tokens import parse
from datakit.caption.trigger import WORD, holds_phrase, near_misses, same_words, slips
from datakit.dataset.manifest import Face, Record, read_manifest, to_line
from datakit.geometry import Area, Box, Size
from datakit.run.stage import Execution
from tests.commands import said

COLOURS = ["blue", "green", "white", "black", "yellow", "grey", "brown", "pink"]
THINGS = [
    f"{colour} {thing}"
    for colour in COLOURS
    for thing in ["car", "cup", "lamp", "chair", "book", "door", "bag", "clock", "bottle", "plant"]
]
PLACES = [
    f"{how} {where}"
    for how in ["wet", "old", "quiet", "busy", "bright"]
    for where in ["street", "park", "beach", "forest", "kitchen"]
]
LARGE, SMALL = Area(300, 200, 700, 700), Area(100, 100, 160, 170)


def written(folder, captions, records=None):
    """A dataset with these captions, of pictures nobody needs to look at."""
    folder.mkdir()
    lines = []
    for number, caption in enumerate(captions):
        name = f"p{number:03}"
        (folder / f"{name}.txt").write_text(caption)
        known = {"source": f"{name}.jpg", "box": Box(0, 0, 1024, 1024), "bucket": Size(1024, 1024), "faces": (Face(LARGE, 0.9),)}
        known |= (records or {}).get(number, {})
        lines.append(
            to_line(
                Record(
                    output=f"{name}.jpg", caption=f"{name}.txt", source_sha256="0" * 64, output_sha256="0" * 64, caption_sha256="0" * 64,
                    key="k", version="0", captions=1, **known,
                )
            )
        )  # fmt: skip
    (folder / "manifest.jsonl").write_bytes(b"".join(lines))
    return folder


def plain_captions(number=60):
    chance = random.Random(3)
    return [f"sksperson, {', '.join([chance.choice(PLACES), *chance.sample(THINGS, 4)])}" for _ in range(number)]


def kinds(audit):
    return sorted((remark.kind, remark.words) for remark in audit.remarks)


def test_where_no_picture_has_a_caption_the_trigger_alone_may_be_given(tmp_path):
    folder = tmp_path / "none"
    written(folder, [""] * 3)
    records = [msgspec.structs.replace(record, caption=None) for record in read_manifest(folder)]
    (folder / "manifest.jsonl").write_bytes(b"".join(map(to_line, records)))
    (remark,) = audit_captions(folder, AuditedBy("ohwx")).remarks
    assert (remark.kind, "--caption 'ohwx'" in remark.cure) == ("trigger-missing", True)
    assert audit_captions(written(tmp_path / "alone", ["ohwx"] * 3), AuditedBy("ohwx")).remarks == []


def test_captions_without_faults_are_named_by_nothing(tmp_path):
    audit = audit_captions(written(tmp_path / "d", plain_captions()), AuditedBy("sksperson"))
    assert kinds(audit) == []
    assert audit.counted.captions == audit.counted.triggered == 60


def test_planted_faults_are_named_and_nothing_else(tmp_path):
    captions = [f"{caption}, red light" if number % 20 else caption for number, caption in enumerate(plain_captions())]
    captions[7] = captions[7].replace("sksperson", "sksperso")
    captions[9] = captions[8]
    captions[11] += ", portrait"
    captions[13] = f"{captions[12]}, extra"
    captions[15] += ", landscape"
    captions[17] += ", solo"
    captions[19] = captions[19].removeprefix("sksperson, ")
    records = {
        11: {"faces": (Face(SMALL, 0.9),)},
        15: {"bucket": Size(832, 1216)},
        17: {"faces": (Face(LARGE, 0.9), Face(Area(0, 0, 300, 350), 0.8))},
    }
    audit = audit_captions(written(tmp_path / "d", captions, records), AuditedBy("sksperson"))
    assert kinds(audit) == sorted(
        [
            ("fused", "red light"), ("trigger-like", "sksperso"), ("trigger-missing", "sksperson"), ("contradiction", "portrait"),
            ("contradiction", "landscape"), ("contradiction", "solo"), ("same", captions[8][:80]), ("nearly-same", captions[12][:80]),
        ]
    )  # fmt: skip
    files = {remark.words: remark.files for remark in audit.remarks}
    assert files["portrait"] == ("p011.jpg",)
    assert files["sksperso"] == ("p007.jpg",)
    assert files[captions[8][:80]] == ("p008.jpg", "p009.jpg")
    assert files["sksperson"] == ("p019.jpg",)
    assert {"extra", "sksperso", "portrait"} <= set(audit.counted.once())


def test_what_is_meant_to_be_part_of_the_trigger_is_not_named(tmp_path):
    captions = [f"{caption}, woman, red hair" for caption in plain_captions(20)]
    folder = written(tmp_path / "d", captions)
    assert kinds(audit_captions(folder, AuditedBy("sksperson", ["woman", "red hair"]))) == []
    assert kinds(audit_captions(folder, AuditedBy("sksperson"))) == [("fused", "red hair"), ("fused", "woman")]
    guessed = audit_captions(folder)
    assert (guessed.trigger, guessed.guessed) == ("sksperson", True)


def test_a_mirrored_copy_whose_words_are_not_is_named(tmp_path):
    def copy(number, flip):
        drawn = {"flip": True} if flip else None
        return {"source": "a.jpg", "copy": number, "augmentation": drawn}

    captions = ["x, hat on the left"] * 3
    records = {number: copy(number + 1, number) for number in range(3)}
    audit = audit_captions(written(tmp_path / "d", captions, records), AuditedBy("x"))
    assert [(remark.kind, remark.words, remark.files) for remark in audit.remarks] == [
        ("contradiction", "left", ("p001.jpg", "p002.jpg"))
    ]
    swapped = [captions[0], *[caption.replace("left", "right") for caption in captions[1:]]]
    assert kinds(audit_captions(written(tmp_path / "e", swapped, records), AuditedBy("x"))) == []


def counted(captions, **options):
    each = Counted(**options)
    for number, caption in enumerate(captions):
        each.add(caption, parse(caption), str(number))
    return each


@given(st.lists(st.lists(st.sampled_from(["ohwx", "red car", "night", "a wet street"]), min_size=1, max_size=4), min_size=1))
def test_shares_are_those_counted_by_hand(lists):
    captions = [", ".join(each) for each in lists]
    found = {each.text: each for each in counted(captions, trigger="ohwx").taught()}
    for text in ("red car", "night", "wet", "wet street"):
        holding = [caption for caption in captions if text in caption]
        assert (found[text].count if text in found else 0) == len(holding)
        if holding:
            assert found[text].alone == sum("ohwx" not in caption for caption in holding)
            assert found[text].share == pytest.approx(len(holding) / len(captions))
    assert "a wet street" not in found


def one_a_word(text):
    return len(text.replace(",", " ").split()) + 2


def test_what_lies_behind_75_tokens_is_not_read():
    caption = ", ".join(f"w{number}" for number in range(100))
    found = {each.text: each.seen for each in counted([caption] * 5, measure=one_a_word).taught()}
    assert [found[f"w{number}"] for number in (0, 74, 75, 99)] == [1, 1, 0, 0]


@pytest.mark.parametrize("keep", [0, 10])
def test_a_shuffle_is_foretold_as_it_comes_out(keep):
    words = [f"w{number}" for number in range(100)]
    foretold = {
        each.text: each.seen for each in counted([", ".join(words)] * 5, measure=one_a_word, planned=Planned(keep)).taught()
    }
    chance = random.Random(1)
    seen = sum("w99" in [*words[:keep], *chance.sample(words[keep:], 100 - keep)][:75] for _ in range(2000)) / 2000
    assert foretold["w99"] == pytest.approx(seen, abs=0.03)
    assert (foretold["w0"] == 1) == bool(keep)
    long = [f"a{number} b c d e" for number in range(30)]
    found = {each.text: each.seen for each in counted([", ".join(long)], measure=one_a_word, planned=Planned()).taught()}
    assert found["a7"] == pytest.approx(15 / 30, abs=0.02)  # 14 of the 29 others at most are in front of it
    dropped = {each.text: each.seen for each in counted(["a, b, c"], planned=Planned(1, 0.25)).taught()}
    assert dropped == {"b": 0.75, "c": 0.75}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("sksperso", "sksperson", 1), ("ohxw", "ohwx", 1), ("abc", "abc", 0), ("abcd", "dcba", 3), ("", "ab", 2)],
)
def test_slips_are_counted(one, other, expected):
    assert slips(one, other, 5) == slips(other, one, 5) == expected
    assert slips(one, other, 1) == min(expected, 2)


def test_near_misses_of_the_trigger():
    captions = ["sksperso, hat", "SKSPERSON, hat", "skspersons, hat", "a sks_person, hat", "persona", "sksperso, cat"]
    assert near_misses(captions, "sksperson") == {"sksperso": 2, "sks person": 1}
    assert near_misses(["ohwx womna, hat", "ohwx woman"], "ohwx woman") == {"ohwx womna": 1}
    assert near_misses(["ski"], "sks") == {}
    assert near_misses(["an ohwxwoman, hat"], "ohwx woman") == {"ohwxwoman": 1}
    assert near_misses(["a sks person, hat"], "sksperson") == {"sks person": 1}
    assert near_misses(["skperso", "skpero"], "sksperson") == {"skperso": 1}
    assert holds_phrase("photo of Ohwx_Woman.", "ohwx woman")
    assert not holds_phrase("ohwx womanly", "ohwx woman")
    assert same_words("Ohwx_Woman", "ohwx  woman")


def test_the_command_prints_a_table_or_json(tmp_path):
    written(tmp_path / "d", [f"{caption}, red light" for caption in plain_captions(20)])
    code, output = said("captions audit d --top 2", tmp_path)
    assert code == 0
    assert "trigger 'sksperson': in 20 captions, which nearly all captions begin with" in output
    assert "   100%        20                0          100%  red light\n" in output
    assert "   100%        20                0          100%  sksperson\n" in output
    assert "1 to look at:\n  'red light' stands in 100% of the captions (over 85%)" in output
    code, output = said("captions audit d --json --trigger sksperson --fuse red,light", tmp_path)
    read = json.loads(output)
    assert (code, read["captions"], read["findings"]) == (0, 20, [])
    assert read["words"][1] == {"text": "sksperson", "captions": 20, "share": 1.0, "without_trigger": 0, "seen": 1.0}
    assert said("captions audit d --keep 1 --drop-tokens 0.5 --top 2", tmp_path)[1].count(" 50%  ") == 1  # all but the trigger
    assert said("captions audit .", tmp_path)[0] == 2


def test_phrases_beyond_memory_are_let_go_and_common_ones_stay(monkeypatch):
    monkeypatch.setattr("datakit.audit.phrases._KEPT", 100)
    monkeypatch.setattr("datakit.audit.phrases._AT_ONCE", 200)
    each = counted([f"ohwx, red light, thing{number} one{number}" for number in range(300)], trigger="ohwx")
    assert [one.text for one in each.fused(())] == ["red light"]
    assert len(each.phrases) <= 100
    assert replace(each.taught()[0], text="").count == 300


def test_a_word_in_several_captions_of_one_picture_is_in_those_of_one_picture_only():
    each = Counted()
    for text, source in [("red, cat", "a"), ("red, dog", "a"), ("cat, bird", "b"), ("bird", None), ("bird", None)]:
        each.add(text, parse(text), source)
    assert each.once() == ["bird", "dog", "red"]


@given(
    st.lists(st.lists(st.sampled_from(["Red Car", "a", "of", "a b c d", "x y, of", "the e f g h i"]), max_size=4)),
    st.integers(1, 40),
)
def test_phrases_are_those_found_one_after_the_other_however_many_are_counted_at_once(lists, at_once):
    words_alone, expected = {"a", "of", "the"}, Counter()
    for tokens in lists:
        found = set()
        for words in (token.lower().replace(",", "").split() for token in tokens):
            for start in range(len(words)):
                for end in range(start + 1, min(start + 3, len(words)) + 1):
                    if words_alone.isdisjoint((words[start], words[end - 1])):
                        found.add(" ".join(words[start:end]))
            if 3 < len(words) <= 6:
                found.add(" ".join(words))
        expected.update(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datakit.audit.phrases._AT_ONCE", at_once)
        numbers = Numbers()
        phrases = Phrases(numbers)
        for number, tokens in enumerate(lists):
            phrases.add(numbers.of(tokens), None, triggered=bool(number % 2), source=str(number))
        assert {each.text: each.captions for each in phrases.at_least(1)} == expected


@given(st.lists(st.integers(0, 7).map(lambda low: 2**60 + low) | st.integers(0, 2**64 - 1), max_size=60))
def test_keys_are_sorted_and_equal_ones_keep_their_order(keys):
    assert sorting(np.array(keys, np.uint64)).tolist() == sorted(range(len(keys)), key=keys.__getitem__)


@given(st.integers(10, 60), st.integers(0, 10**6))
def test_captions_that_share_nearly_all_words_are_found_and_others_are_not(length, seed):
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(1000)]
    captions = [chance.sample(words, length) for _ in range(10)]
    numbers = Numbers()
    prints = Fingerprinted(numbers)
    for number, caption in enumerate(captions):
        prints.add(f"{number}", numbers.of(caption))
    prints.add("again", numbers.of([" ".join(captions[3][::-1])]))
    prints.add("longer", numbers.of([*captions[4], "another"]))
    prints.add("longer too", numbers.of([*captions[4], "other"]))
    prints.add("", numbers.of([" ,. "]))
    assert prints.alike() == [(("3", "again"), True), (("4", "longer", "longer too"), False)]


def test_words_that_only_look_like_a_contradiction_are_none(tmp_path):
    two = {"faces": (Face(LARGE, 0.9), Face(Area(0, 0, 300, 350), 0.8))}
    captions = [
        "x, solo focus, red hat",
        "x, 1girl, a couple of friends",
        "x, one man and two women",
        "x, portrait orientation, sea",
    ]
    records = {0: two, 1: two, 2: two, 3: {"faces": (Face(SMALL, 0.9),)}}
    assert kinds(audit_captions(written(tmp_path / "d", captions, records), AuditedBy("x"))) == []


@given(
    st.lists(
        st.text(st.sampled_from("aBé-'’_ .,1\x01\x1c(ſK") | st.characters(exclude_characters="\n", exclude_categories=["Cs"]))
    )
)
def test_words_are_numbered_as_the_pattern_finds_them(tokens):
    numbers = Numbers()
    found = numbers.of(tokens)
    words = {number: word for word, number in numbers.items()}
    expected = [WORD.findall(token.lower()) for token in tokens]
    ends = [place for place, number in enumerate(found) if number == 0]
    starts = [0, *(end + 1 for end in ends)]
    assert [[words[number] for number in found[start:end]] for start, end in zip(starts, ends, strict=False)] == (
        expected or [[]]
    )


@given(st.text(st.sampled_from("aB1_-. \t\x1c\x0b,(") | st.characters(exclude_categories=["Cs"])))
def test_an_estimate_counts_seven_letters_and_any_other_sign_as_one(text):
    alone = re.findall(r"[A-Za-z]{1,7}|\d|[^\sA-Za-z\d]", text)
    assert estimate_tokens(text) == len(alone) + 2


def test_without_a_trigger_nothing_is_said_to_stand_with_it(tmp_path):
    written(tmp_path / "d", [f"{thing}, night" for thing in THINGS[:10]])
    code, output = said("captions audit d --top 1", tmp_path)
    assert code == 0
    assert "no trigger: nearly all captions begin otherwise (--trigger says one)\n" in output
    assert "   100%        10                -          100%  night\n" in output
    assert json.loads(said("captions audit d --json", tmp_path)[1])["words"][0]["without_trigger"] is None


def test_a_file_of_one_tag_a_line_is_named(tmp_path):
    captions = plain_captions(20)
    captions[3] = "sksperson\nwet street\nsolo\nlong hair"
    audit = audit_captions(written(tmp_path / "d", captions), AuditedBy("sksperson"))
    assert [(remark.kind, remark.files) for remark in audit.remarks if remark.kind == "lines"] == [("lines", ("p003.jpg",))]


def test_an_audit_in_parts_and_by_several_workers_finds_the_same(tmp_path, monkeypatch):
    chance = random.Random(8)
    captions = plain_captions(400)
    captions[6] = captions[300]
    captions[150] = captions[150].replace("sksperson", "sksperso")
    captions[222] = captions[222].partition(", ")[2]
    captions[330] = f"{captions[330]}, 1girl, a zyzzyva"
    for number in (9, 10, 11):
        captions[number] += ", left hand"
    faces = (Face(LARGE, 0.9), Face(Area(0, 0, 200, 200), 0.95))
    # Copies of a picture, mirrored now and then, of which no part holds one without the other.
    records = {n: {"source": f"s{n // 3}.jpg", "copy": n % 3 + 1, "faces": faces} for n in range(400)}
    for number in chance.sample(range(12, 400), 100):
        records[number]["augmentation"] = {"flip": True}
    records[10]["augmentation"] = {"flip": True}
    folder = written(tmp_path / "d", captions, records)
    whole = plain(audit_captions(folder, AuditedBy("sksperson")), 1000)
    assert {each["kind"] for each in whole["findings"]} == {"contradiction", "same", "trigger-like", "trigger-missing"}
    assert "zyzzyva" in whole["once"]
    monkeypatch.setattr(auditing, "_LEAST", 10)
    for jobs in (0, 2):
        assert plain(audit_captions(folder, AuditedBy("sksperson"), Execution(jobs=jobs)), 1000) == whole
