"""Duplicates, near-duplicates, blur; captions too long or without the trigger."""

from __future__ import annotations

import shutil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datakit.audit.checks import list_files
from datakit.audit.concept import read_concept
from datakit.audit.likeness import compared_names, find_likeness, near_pairs
from datakit.audit.looks import look_at_all
from datakit.audit.wording import check_wording, estimate_tokens, tokenizer_counter
from datakit.dataset.manifest import MANIFEST, read_manifest, to_line
from datakit.errors import UsageError
from datakit.trainers.simpletuner.backend import FAMILIES
from tests.conftest import BUCKETS
from tests.trainers.conftest import draw, sha256


def found(folder):
    return [(finding.kind, finding.path) for finding in likeness_of(folder)[0]]


def likeness_of(*folders):
    concepts = [read_concept(folder) for folder in folders]
    looks = [look_at_all(concept.folder, list_files(concept.folder), compared=compared_names(concept)) for concept in concepts]
    return find_likeness(concepts, looks)


def rehash(folder):
    records = [msgspec.structs.replace(record, output_sha256=sha256(folder / record.output)) for record in read_manifest(folder)]
    (folder / MANIFEST).write_bytes(b"".join(map(to_line, records)))


def test_different_pictures_and_copies_of_one_are_no_findings(make_dataset):
    assert found(make_dataset(buckets=BUCKETS[:3], copies=2)) == []


def test_the_same_and_the_recompressed_picture_are_found(make_dataset):
    folder = make_dataset(buckets=[BUCKETS[0]] * 4)
    shutil.copy(folder / "p00.jpg", folder / "p01.jpg")
    with Image.open(folder / "p02.jpg") as image:
        image.save(folder / "p03.jpg", quality=60)
    rehash(folder)
    assert found(folder) == [("duplicate", "p01.jpg"), ("near-duplicate", "p03.jpg")]


def test_pictures_alike_in_two_datasets_are_found(make_dataset):
    first, second = make_dataset("one", BUCKETS[:2]), make_dataset("two", BUCKETS[:3])
    shutil.copy(first / "p01.jpg", second / "p02.jpg")
    with Image.open(second / "p00.jpg") as image:
        image.save(second / "p00.jpg", quality=60)
    nothing, found_in_second = likeness_of(first, second)
    assert nothing == []
    assert {(finding.kind, finding.path, finding.detail.split(",")[0]) for finding in found_in_second} == {
        ("near-duplicate", "p00.jpg", "one/p00.jpg"),
        ("duplicate", "p01.jpg", "one/p01.jpg"),
        ("duplicate", "p02.jpg", "one/p01.jpg"),
    }


def test_blur_is_found(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:2])
    draw(folder / "p01.jpg", BUCKETS[1], 1, blur=6)
    assert found(folder) == [("blurred", "p01.jpg")]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(0, 8))
def test_near_pairs_are_those_of_counting_bits(hashes, limit):
    expected = []
    for later in range(1, len(hashes)):
        distance, earlier = min(((hashes[earlier] ^ hashes[later]).bit_count(), earlier) for earlier in range(later))
        if distance <= limit:
            expected.append((earlier, later, distance))
    assert near_pairs(hashes, limit) == expected


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 2), ("a cat", 4), ("a cat, sitting", 6), ("photorealistic", 4), ("4k 日本", 6)]
)
def test_tokens_are_estimated_by_words_digits_and_signs(text, tokens):
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize(
    ("words", "family", "named"), [(75, "sd3", []), (76, "sd3", ["CLIP"]), (153, "sd3", ["CLIP", "T5"]), (153, "flux", ["CLIP"])]
)
def test_long_captions_name_the_encoders_that_cut_them(make_dataset, words, family, named):
    folder = make_dataset(buckets=BUCKETS[:1])
    (folder / "p00.txt").write_text(" ".join(["word"] * words))
    findings = check_wording(read_concept(folder), FAMILIES[family])
    assert [name for name in ("CLIP", "T5") if any(name in finding.problem for finding in findings)] == named


def test_an_exact_counter_takes_the_place_of_the_estimate(make_dataset):
    findings = check_wording(read_concept(make_dataset(buckets=BUCKETS[:1])), FAMILIES["sdxl"], counter=lambda text: 78)
    assert [(finding.problem, finding.detail) for finding in findings] == [
        ("too long for the text encoders: CLIP sees 77 tokenizer tokens", "78")
    ]


def test_without_its_library_the_exact_counter_says_what_to_install(tmp_path):
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match=r"pip install 'datakit\[tokenizer\]'"):
            tokenizer_counter(tmp_path / "tokenizer.json")
    else:
        with pytest.raises(UsageError, match=r"no tokenizer\.json"):
            tokenizer_counter(tmp_path / "tokenizer.json")


def test_the_trigger_word_must_be_in_every_line(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:2], lines=2)
    (folder / "p01.txt").write_text("OHWX here\nnot here")
    assert [finding.path for finding in check_wording(read_concept(folder), FAMILIES["sd3"], "ohwx")] == ["p01.txt"]
