"""docs/formats.md is true: its formats, extensions and kinds of warnings are those of the code."""

from __future__ import annotations

import re

import numpy as np
import pytest

from datakit.dataset.samples import PICTURE_EXTENSIONS
from datakit.picture.kinds import kind_of, said
from datakit.report import KINDS
from tests.conftest import ROOT
from tests.pictures import making

DOC = (ROOT / "docs" / "formats.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOC.split("## Formats")[1].split("##")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| format")
]
CHART = making.patches().astype(np.uint8)


def test_the_extensions_are_those_that_are_looked_at():
    assert {extension for row in ROWS for extension in re.findall(r"`(\.\w+)`", row[1])} == PICTURE_EXTENSIONS


def test_every_format_that_is_known_has_its_row():
    samples = {name: making.save(CHART, name) for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")} | {
        "HEIF": b"\0\0\0\x18ftypheic",
        "JXL": b"\xff\x0a",
    }
    assert {kind_of(data) for data in samples.values()} == set(samples)
    assert [row[0] for row in ROWS] == [said(kind) for kind in samples] or {row[0] for row in ROWS} == set(map(said, samples))


def test_every_kind_of_warning_is_one_of_the_reports():
    named = set(re.findall(r"(?:warned(?: of)? \(?|\()`([\w-]+)`", DOC))
    assert {"frames", "profile", "hdr", "side-data", "decoder", "blank", "profile-guessed", "exif"} == named
    assert named <= KINDS.keys()


@pytest.mark.parametrize("folder", re.findall(r"`([@#$]\w[\w.]*|lost\+found|__MACOSX)`", DOC))
def test_every_folder_that_is_named_is_left_out(tmp_path, folder):
    from datakit.dataset.folder import find_samples

    for name in ("a.jpg", f"{folder}/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [sample.id for sample in find_samples(tmp_path).samples] == ["a.jpg"]
