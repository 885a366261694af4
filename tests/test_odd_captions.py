"""Every oddity of a caption file, through crop, shuffle, check and backend."""

from __future__ import annotations

import io
import json
import shutil

import pytest
from PIL import Image

from tests.commands import invoke

LONG = "word, " * 170_000  # a megabyte

# What the file holds, and the caption that comes out; None where it is refused.
ODD = {
    "byte order mark": (b"\xef\xbb\xbfa, b", "a, b"),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbfa, b", "a, b"),
    "carriage returns": (b"a, b\r\n\r\nc, d\r\n", "a, b\nc, d"),
    "old line ends": (b"a, b\rc, d\r", "a, b\nc, d"),
    "utf-16 little": ("a, ü".encode("utf-16"), "a, ü"),
    "utf-16 big": (b"\xfe\xff" + "a, ü".encode("utf-16-be"), "a, ü"),
    "utf-16 without a mark": ("a, b".encode("utf-16-le"), "a, b"),
    "latin-1": ("ä, ß".encode("latin-1"), "ä, ß"),
    "zero bytes": (b"a\x00b", None),
    "not text in any encoding": (b"\x81\x8d\x8f\x90", None),
    "a megabyte": (LONG.encode(), LONG.strip()),
    "emoji": ("👩‍👩‍👧, 🏳️‍🌈".encode(), "👩‍👩‍👧, 🏳️‍🌈"),
    "right to left": ("שלום, \u202eעולם\u202c".encode(), "שלום, עולם"),
    "only blanks": (b" \t\r\n \n", None),
    "empty": (b"", None),
    "a path up": (b"../../etc/passwd", "../../etc/passwd"),
    "an absolute path": (b"/etc/passwd", "/etc/passwd"),
    "an option": (b"--overwrite, -rf, --help", "--overwrite, -rf, --help"),
    "a format string": (b"%s %n {0} {x!r} ${HOME}, $(id)", "%s %n {0} {x!r} ${HOME}, $(id)"),
    "json": (b'{"file_name": "../x.png"}, "\\u0000"', '{"file_name": "../x.png"}, "\\u0000"'),
    "unicode line ends": ("a\u2028b\x0bc\x0cd\x85e".encode(), "a\u2028b\x0bc\x0cd\x85e"),
    "terminal escapes": (b"\x1b[2J\x1b]0;title\x07, b", "\x1b[2J\x1b]0;title\x07, b"),
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """All of them cropped, shuffled and checked."""
    folder = tmp_path_factory.mktemp("captions")
    (folder / "src").mkdir()
    picture = io.BytesIO()
    Image.linear_gradient("L").resize((1024, 1024)).convert("RGB").save(picture, "JPEG")
    for number, (data, _) in enumerate(ODD.values()):
        (folder / "src" / f"p{number:02}.jpg").write_bytes(picture.getvalue())
        (folder / "src" / f"p{number:02}.txt").write_bytes(data)
    said = {}
    for words in (
        "crop src out --detector=none --saliency=none",
        "shuffle out copies --repeats=1",
        "shuffle out lines --captions-only --repeats=3",
        "check copies --json",
        "backend copies --cache-root=cache",
    ):
        ended = invoke(words.split(), folder)
        said[words.split()[0]] = ended.exit_code, ended.stdout if "--json" in words else ended.output
    return folder, said


@pytest.mark.parametrize("oddity", ODD)
def test_the_text_comes_out_clean_or_the_sample_is_named(chain, oddity):
    folder, said = chain
    number = list(ODD).index(oddity)
    caption = ODD[oddity][1]
    name = f"p{number:02}"
    if caption is None:
        assert name in said["shuffle"][1] or name in said["crop"][1]
        assert not (folder / "copies" / f"{name}_1.txt").exists()
        return
    assert (folder / "out" / f"{name}.txt").read_bytes() == caption.encode()
    # A single copy is the caption itself, but for blanks.
    copy = (folder / "copies" / f"{name}_1.txt").read_text("utf-8")
    same = "".join(copy.split()) == "".join(caption.split())
    assert same
    assert (folder / "lines" / f"{name}.txt").exists()


def test_what_shuffle_writes_has_nothing_left_for_check_to_mend(chain):
    _, said = chain
    findings = json.loads(said["check"][1])["findings"]
    assert {finding["kind"] for finding in findings} <= {"duplicate", "near-duplicate", "length", "blurred", "upscaled"}
    assert said["backend"][0] == 0, said["backend"][1]


@pytest.mark.parametrize("oddity", ODD)
def test_the_same_put_into_a_dataset_by_hand_is_found_and_mended_or_left(corpus, tmp_path, oddity):
    data, caption = ODD[oddity]
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    for name in ("fig0.jpg", "fig0.txt"):
        shutil.copy(corpus / "dataset" / name, dataset)
    lines = (corpus / "dataset" / "manifest.jsonl").read_text().splitlines()
    (dataset / "manifest.jsonl").write_text(next(line for line in lines if '"fig0.jpg"' in line) + "\n")
    (dataset / "fig0.txt").write_bytes(data)
    backend = ["backend", str(dataset), "--cache-root=/cache", f"--output={tmp_path / 'b.json'}"]
    assert invoke(backend, tmp_path).exit_code == 1
    assert not (tmp_path / "b.json").exists()
    ended = invoke([*backend, "--fix"], tmp_path)
    assert ended.exit_code == (0 if caption is not None else 1), ended.output
    assert (dataset / "fig0.txt").read_bytes() == (data if caption is None else caption.encode())
