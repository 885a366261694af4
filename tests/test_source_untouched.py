"""Nothing in a source folder is ever changed, by any command, wherever it is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ordinary_user, permissions_count, said, untouched
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")

# Every command with what it needs from earlier ones; SRC is the source, WORK a folder beside it.
CROP = "--upscale=3 --detector=none --saliency=none --jobs=1"
SEQUENCE = [
    f"crop SRC WORK/out {CROP}",
    f"crop SRC WORK/out {CROP}",
    f"crop SRC WORK/out {CROP} --overwrite --prune --verify",
    f"crop SRC --plan WORK/plan.jsonl {CROP}",
    f"crop SRC --dry-run {CROP}",
    "crop SRC WORK/applied --apply WORK/plan.jsonl --upscale=3 --jobs=1",
    f"crop SRC WORK/strict {CROP} --strict",
    "shuffle WORK/out WORK/copies --repeats=3 --augment=rotate=3 --jobs=1",
    "shuffle WORK/out WORK/dry --dry-run",
    "shuffle SRC WORK/uncropped --repeats=2 --link=copy",
    "backend WORK/out --cache-root=WORK/cache --output=WORK/b.json",
    "backend WORK/copies --cache-root=WORK/cache --output=WORK/b.json --overwrite --fix",
    "check WORK/out",
    "check WORK/copies --fix",
    "steps WORK/copies",
    "verify WORK/b.json",
    "config WORK/copies --output=WORK/config.json --env=WORK/config.env --accelerate=WORK/a.yaml",
    "config WORK/copies --preset=tutorial-lora --into=WORK/st --name=fantasy --backend-config=WORK/b.json",
    "config convert WORK/config.json --output=WORK/low.env",
    "config check WORK/config.json",
    "run WORK/datakit.toml --all",
    "doctor SRC --json",
]


@pytest.fixture
def source(corpus, tmp_path):
    """A folder whose files may only be read, with captions that want mending."""
    folder = Path(shutil.copytree(corpus / "src", tmp_path / "src"))
    for name in ("astronaut", "djembe", "flower", "rocket"):
        for path in folder.glob(f"{name}*"):
            path.unlink()
    (folder / "fig0.txt").write_bytes(b"\xef\xbb\xbfone, two, three\r\n\r\n")
    (folder / ".hidden").write_text("mine")
    return folder


def run_all(source, work, cwd):
    """Run every command and hold the source against what it was."""
    before = untouched(source)
    (work / "datakit.toml").write_text(
        f"[crop]\nsource = '{source}'\noutput = 'run'\nupscale = 3\ndetector = 'none'\nsaliency = 'none'\n"
    )
    for line in SEQUENCE:
        status, output = said(line.replace("SRC", "." if cwd == source else str(source)).replace("WORK", str(work)), cwd)
        # `check` finds that there are few pictures, `config convert` what the trainer would drop, `doctor` what is not installed.
        assert status == 0 or (status == 1 and line.split()[0] in ("check", "config", "doctor")), (line, output)
        assert untouched(source) == before, line


@pytest.mark.parametrize("inside", [False, True], ids=["from a folder beside it", "from inside it"])
def test_no_command_changes_anything_in_the_source(source, tmp_path, inside):
    (tmp_path / "work").mkdir()
    run_all(source, tmp_path / "work", source if inside else tmp_path / "work")


@pytest.mark.skipif(not permissions_count(), reason="root may write anywhere, and setpriv is missing")
@pytest.mark.parametrize("inside", [False, True], ids=["from a folder beside it", "from inside it"])
def test_every_command_works_on_a_source_that_may_only_be_read(source, tmp_path, inside):
    """In a process of its own, which permissions stop."""
    (tmp_path / "work").mkdir()
    for path in [*source.rglob("*"), source]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    places = map(str, (source, tmp_path / "work", source if inside else tmp_path / "work"))
    script = "import sys, pathlib; from tests.test_source_untouched import run_all; run_all(*map(pathlib.Path, sys.argv[1:]))"
    ended = subprocess.run(
        [*ordinary_user(), sys.executable, "-c", script, *places], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def refusal(line, folder, source):
    """What a command says that is refused and leaves the source as it was."""
    before = untouched(source)
    status, output = said(line, folder)
    assert status == 2
    assert untouched(source) == before
    return output


@pytest.mark.parametrize(
    "line",
    [
        "crop . --plan plan.jsonl",
        "crop . here",
        "shuffle . here",
        "backend ../out --cache-root=../cache",
        "backend ../copies --cache-root=../cache",
        "config ../copies",
        "config ../copies --output=../config.json --env=config.env",
    ],
)
def test_what_would_be_written_into_the_source_is_refused(source, tmp_path, line):
    """Started inside it, where files are written by default."""
    for first in (f"crop ../src ../out {CROP}", "shuffle ../out ../copies --repeats=2"):
        assert said(first, source)[0] == 0
    output = refusal(line, source, source)
    assert "nothing in a source is ever changed" in output or "nothing is ever changed" in output
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    "line",
    ["crop out src --overwrite", "shuffle out src --captions-only --overwrite", "shuffle out src/sub", "shuffle copies src"],
)
def test_arguments_the_wrong_way_round_are_refused(source, tmp_path, line):
    for first in (f"crop src out {CROP}", "shuffle out copies --repeats=2"):
        assert said(first, tmp_path)[0] == 0
    assert "a source, where nothing is ever changed" in refusal(line, tmp_path, source)


def test_the_source_of_shuffle_is_a_source_too(source, tmp_path):
    assert said(f"crop src out {CROP}", tmp_path)[0] == 0
    before = untouched(tmp_path / "out")
    assert said("shuffle ../out ../copies --repeats=2", tmp_path / "out")[0] == 0
    assert untouched(tmp_path / "out") == before
