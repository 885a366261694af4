"""What is published: the source distribution builds the wheel, the wheel holds the package and no more, and it starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
import yaml

from datakit import __version__
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def package_files() -> set[str]:
    """The files of the package, as they lie in the checkout."""
    found = (path for path in (ROOT / "datakit").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


def build(source, kind, target):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target], cwd=source, check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source distribution, and the wheel that was built from it."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, "sdist", folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    build(folder / "unpacked" / f"datakit-{__version__}", "wheel", folder)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def test_the_wheel_holds_the_package_and_no_more(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if not name.startswith(f"datakit-{__version__}.dist-info/")}
        licences = {name.partition("/licenses/")[2] for name in wheel.namelist() if "/licenses/" in name}
    assert names == package_files()
    assert {
        "datakit/detect/weights/yunet.onnx",
        "datakit/detect/weights/nanodet.onnx",
        "datakit/review/page/index.html",
        "datakit/py.typed",
    } <= names
    assert "LICENSE" in licences
    assert any(name.endswith("OFL.txt") for name in licences)


def test_the_source_distribution_can_be_tested(built):
    with tarfile.open(built[0]) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert package_files() <= names
    assert {
        "tests/conftest.py",
        "fixtures/make.py",
        "docs/architecture.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        ".ci/run",
    } <= names
    assert not {name for name in names if "__pycache__" in name or name.startswith((".git/", ".venv/", "dist/"))}


def test_the_index_would_take_both(built):
    pytest.importorskip("twine")
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *built], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_starts_and_its_weights_are_whole(built, tmp_path):
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(tmp_path / "site")
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(ROOT / "fixtures" / "pictures" / "fig.jpg", work)
    script = "import sys; sys.argv[0] = 'datakit'; from datakit.__main__ import run; run()"
    for words, said in (
        (["--version"], f"datakit, version {__version__}"),
        (["crop", ".", "../out"], "1 done"),
        (["doctor"], f"datakit {__version__},"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=work, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said in done.stdout, done.stderr
        assert "weights" not in done.stdout


def test_every_keyword_and_licence_file_is_there():
    assert PROJECT["keywords"] == sorted(set(PROJECT["keywords"]))
    assert all(any(ROOT.glob(pattern)) for pattern in PROJECT["license-files"])
    assert "urls" not in PROJECT or all(address.startswith("https://") for address in PROJECT["urls"].values())


@pytest.fixture
def checkout(tmp_path):
    """A copy of what a release is made from, small enough to change; building it fails."""
    for name in (".ci/release", "CHANGELOG.md", "datakit/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def release(checkout, version):
    return subprocess.run(["bash", ".ci/release", version], cwd=checkout, capture_output=True, text=True, check=False)


def test_no_release_is_built_of_another_version_or_without_a_date(checkout):
    assert f"says {__version__}, not 9.9.9" in release(checkout, "9.9.9").stderr
    changes = (checkout / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(__version__)} \((unreleased|\d{{4}}-\d\d-\d\d)\)$", changes, re.MULTILINE)
    (checkout / "CHANGELOG.md").write_text(re.sub(r"\(\d{4}-\d\d-\d\d\)", "(unreleased)", changes))
    undated = release(checkout, __version__)
    assert (undated.returncode, "has no section" in undated.stderr) == (1, True)
    (checkout / "CHANGELOG.md").write_text(changes.replace("(unreleased)", "(2026-01-31)", 1))
    dated = release(checkout, __version__)
    assert "has no section" not in dated.stderr
    assert dated.returncode != 0


def test_what_is_published_is_what_the_tag_says_and_nothing_is_secret():
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["publish"]["needs"] == ["test", "build"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert not {"password", "secrets"} & set(re.findall(r"\w+", text.partition("jobs:")[2]))
    assert 'bash .ci/release "${GITHUB_REF_NAME#v}"' in text


def test_a_report_of_a_fault_asks_for_what_doctor_says():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text("utf-8"))
    (asked,) = (each for each in form["body"] if each["id"] == "doctor")
    assert "`datakit doctor`" in asked["attributes"]["label"]
    assert asked["validations"] == {"required": True}


def test_a_commit_is_checked_with_what_the_tests_are_run_with():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    test = re.search(r"<!-- test -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
    assert tools == set(re.findall(r"\.venv/bin/(ruff|mypy|lint-imports)", test))
