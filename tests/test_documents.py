"""README and docs are true: transcripts are what the commands print, every block runs, every option and every link is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, Execution, crop_folder
from datakit.cli import main
from datakit.trainers import TRAINERS, trainer
from tests.commands import invoke
from tests.conftest import ROOT, load_fixture
from tests.documents import PAGES, blocks, command_of, every_option, lines, options_of, text, typed

# Pages with transcripts, told in one folder one after the other.
STORY = ["README.md", "docs/steps.md", "docs/verify.md", "docs/crop.md", "docs/troubleshooting.md"]
HOME = "/home/you"
# Their blocks are run in tests/trained/test_docs.py; what works on shards, in tests/shards.
ELSEWHERE = {"docs/after-training.md", "docs/scaling.md"}
RUN = [page for page in map(str, PAGES) if blocks(page, "sh") and page not in ELSEWHERE]
# These end with 1 where they found something to say.
REPORTING = {"check", "captions"}
# Of other programs: pytest, ruff, pip, vipsthumbnail, the benchmarks, diffusers' scripts.
FOREIGN = {"--cov", "--check", "--quiet", "--smartcrop", "--cache", "--quick", "--resolution"}


def without_hashes(said: str) -> str:
    """Leave out content hashes, which differ between versions of the encoders."""
    return re.sub(r"-[0-9a-f]{8}\b", "", said).strip()


def told(page: str) -> list[tuple[str, str]]:
    """(command, what it prints) of the transcripts of a page."""
    parts = re.split(r"^\$ (.*)\n", "".join(blocks(page, "console")), flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder with ``photos``, three of them with masks and control pictures, and ``out``, the dataset; never written to."""
    folder = tmp_path_factory.mktemp("photos")
    for stem in ("dogs", "fig", "mountains"):
        for kind in ("jpg", "txt"):
            (folder / "photos").mkdir(exist_ok=True)
            shutil.copy(ROOT / "fixtures" / "pictures" / f"{stem}.{kind}", folder / "photos")
        with Image.open(folder / "photos" / f"{stem}.jpg") as picture:
            mask = Image.fromarray(np.full((picture.height, picture.width), 255, np.uint8))
        mask.save(folder / "photos" / f"{stem}-masklabel.png", compress_level=1)
        (folder / "photos" / "control").mkdir(exist_ok=True)
        mask.save(folder / "photos" / "control" / f"{stem}.png", compress_level=1)
    crop_folder(folder / "photos", folder / "out", CropOptions(), execution=Execution(executor="serial"))
    return folder


def test_the_readme_is_short():
    assert len(text("README.md").split()) <= 700


def test_the_story_is_what_the_commands_print(tmp_path):
    assert {str(page) for page in PAGES if blocks(page, "console")} == set(STORY)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "fig.jpg").symlink_to(ROOT / "fixtures" / "pictures" / "fig.jpg")
    for page in STORY:
        for command, expected in told(page):
            if page == "README.md":
                done = subprocess.run(
                    [sys.executable, "-m", *shlex.split(command)], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"}, check=False,
                )  # fmt: skip
            else:
                done = invoke(typed(command), tmp_path)
            said = (done.stdout or done.stderr).replace(str(tmp_path), HOME)
            assert without_hashes(said) == without_hashes(expected), command


@pytest.mark.parametrize("page", RUN)
def test_every_block_runs(page, photos, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(photos, folder)
    for line in "".join(blocks(page, "sh")).splitlines():
        words = typed(line)
        ended = invoke(words, folder)
        assert ended.exit_code == 0 or (ended.exit_code == 1 and words[0] in REPORTING), f"{line}\n{ended.output}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_shown_takes_its_options(page):
    for line in lines(page):
        words = typed(line)
        known = options_of(command_of(words))
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, (line, used - known)


@pytest.mark.parametrize("page", ["docs/python.md"])
def test_the_python_runs(page, tmp_path):
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    for code in blocks(page, "python"):
        (tmp_path / "script.py").write_text(code)
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_option_named_exists(page):
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+(?![\w_])", text(page))) <= every_option() | FOREIGN


def test_every_command_is_described():
    described = "".join(map(text, PAGES))
    assert all(f"datakit {name}" in described for name in main.list_commands(click.Context(main)))


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for links."""
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)}


@pytest.mark.parametrize("page", [*PAGES, Path("CONTRIBUTING.md"), Path("SECURITY.md"), Path("CHANGELOG.md")], ids=str)
def test_every_link_leads_somewhere(page):
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", text(page), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)]+)\)", prose):
        path, _, anchor = link.partition("#")
        if link.startswith("https://"):
            continue
        leads = (ROOT / page).parent / path if path else ROOT / page
        assert leads.exists(), link
        assert not anchor or anchor in slugs(leads), link


def test_the_page_on_trainers_names_every_trainer_and_its_families():
    page = text("docs/trainers.md")
    for name in TRAINERS:
        assert f"| `{name}` | {', '.join(trainer(name).families)} |" in page
        assert f"`{trainer(name).file_name}`" in page
        assert f"(trainers/{name}.md)" in page
        assert f"--trainer {name}" in text(f"docs/trainers/{name}.md") or name == "simpletuner"


def test_the_picture_of_the_readme_is_what_datakit_makes():
    committed = ROOT / "docs" / "before-after.jpg"
    assert committed.stat().st_size < 150_000
    made = np.asarray(load_fixture("before_after").before_after(), np.int16)
    with Image.open(committed) as picture:
        assert np.abs(made - np.asarray(picture, np.int16)).mean() < 3
