"""Nothing in a source folder is ever changed, by any command, wherever it is started."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.commands import finish, ordinary_user, permissions_count, start, untouched

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
    "config convert WORK/config.json --output=WORK/low.env",
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


def lock(folder):
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o500 if path.is_dir() else 0o400)


@pytest.mark.parametrize("inside", [False, True], ids=["from a folder beside it", "from inside it"])
@pytest.mark.parametrize("locked", [pytest.param(True, marks=pytest.mark.skipif(not permissions_count(), reason="root may write anywhere")), False], ids=["read-only", "writable"])  # fmt: skip
def test_no_command_changes_anything_in_the_source(source, tmp_path, inside, locked):
    work = tmp_path / "work"
    work.mkdir()
    if locked:
        lock(source)
    before = untouched(source)
    for line in SEQUENCE:
        words = line.replace("SRC", "." if inside else str(source)).replace("WORK", str(work)).split()
        status, said = finish(start(words, source if inside else work, ordinary_user() if locked else None))
        # `check` finds that there are few pictures, and `config convert` what the trainer would drop.
        assert status == 0 or (words[0] in ("check", "config") and status == 1), (line, said)
        assert untouched(source) == before, line


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
        assert finish(start(first.split(), source))[0] == 0
    before = untouched(source)
    status, said = finish(start(line.split(), source))
    assert status == 2
    assert "nothing in a source is ever changed" in said or "nothing is ever changed" in said
    assert untouched(source) == before
    assert not (tmp_path / "config.json").exists()


def test_the_source_of_shuffle_is_a_source_too(source, tmp_path):
    assert finish(start(f"crop src out {CROP}".split(), tmp_path))[0] == 0
    before = untouched(tmp_path / "out")
    assert finish(start(["shuffle", "../out", "../copies", "--repeats=2"], tmp_path / "out"))[0] == 0
    assert untouched(tmp_path / "out") == before
