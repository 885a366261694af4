"""Real pictures in tar files, as other tools write them, and the same in a folder."""

from __future__ import annotations

import io
import shutil
import tarfile

import pytest
from PIL import Image

from datakit import CropOptions, crop_folder
from datakit.shards.crop import crop_shards
from tests.shards.faults import Faults

pytest.importorskip("pyarrow", reason="a dataset in shards needs the extra parquet")

PLAIN = {"detector": "none", "saliency": "none"}
OPTIONS = CropOptions(format="jpg", upscale=6, **PLAIN)
WORDS = ["--format=jpg", "--upscale=6", "--detector=none", "--saliency=none"]
STEMS = ("astronaut", "coffee", "fig", "flower", "moose", "rocket", "temple")


def write_tar(path, files):
    """Write a tar as Python's own module does: with the time of now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_700_000_000
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="session")
def samples(pictures):
    """Seven small pictures of three formats with captions, one of them in a folder, with dots in its name, without a caption."""
    files = {}
    for stem in STEMS:
        (path,) = (each for each in pictures.glob(f"{stem}.*") if each.suffix != ".txt")
        with Image.open(path) as picture:
            kind = picture.format
            picture.thumbnail((420, 420))
            file = io.BytesIO()
            picture.convert("RGB").save(file, kind)
        name = f"more/a.b.{stem}" if stem == "rocket" else stem
        files[f"{name}{path.suffix}"] = file.getvalue()
        if stem != "rocket":
            files[f"{name}.txt"] = path.with_suffix(".txt").read_bytes()
    return files


@pytest.fixture(scope="session")
def raw(samples, tmp_path_factory):
    """In ``tars`` three shards, in ``folder`` the same files; never written to."""
    place = tmp_path_factory.mktemp("raw")
    for number, stems in enumerate((STEMS[:3], STEMS[3:5], STEMS[5:])):
        shard = {name: data for name, data in samples.items() if any(stem in name for stem in stems)}
        write_tar(place / "tars" / f"{number:05d}.tar", shard)
    for name, data in samples.items():
        path = place / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


@pytest.fixture(scope="session")
def as_folder(raw, tmp_path_factory):
    """What crop makes of the extracted folder."""
    folder = tmp_path_factory.mktemp("folder") / "out"
    crop_folder(raw / "folder", folder, OPTIONS)
    return folder


@pytest.fixture(scope="session")
def as_shards(raw, tmp_path_factory):
    """What crop makes of the shards; never written to."""
    folder = tmp_path_factory.mktemp("shards") / "out"
    report = crop_shards(f"{raw}/tars/*.tar", str(folder), OPTIONS)
    assert (report.done, report.counts.done, report.exit_code) == (3, 7, 0)
    return folder


@pytest.fixture
def tars(raw, tmp_path):
    """The shards, to be changed."""
    shutil.copytree(raw / "tars", tmp_path / "tars")
    return tmp_path / "tars"


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """Places where processes die that this test begins; see `tests.shards.faults`."""
    (tmp_path / "site").mkdir()
    places = Faults(tmp_path / "site")
    for name, value in places.environment.items():
        monkeypatch.setenv(name, value)
    return places
