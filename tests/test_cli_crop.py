from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from datakit import CropOptions, crop_folder
from datakit.detect import models, objects
from datakit.errors import WeightsError
from datakit.libraries import missing
from tests.conftest import tree

COMMANDS = ("crop", "shuffle", "review", "sheet", "backend", "check", "steps", "verify", "config")


def test_help_says_what_each_command_does_and_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from datakit.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([m for m in ('cv2', 'mediapipe', 'onnxruntime', 'numpy', 'PIL', 'tqdm', 'starlette', 'uvicorn') if m in sys.modules])\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"
    for command in COMMANDS:
        assert f"\n  {command} " in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_has_help(command):
    from datakit.cli import main

    found = main.get_command(None, command)
    assert found.help
    assert all(option.help for option in found.params if option.param_type_name == "option")


def test_crop_writes_a_dataset_and_says_so(datakit, pictures, tmp_path):
    done = datakit("crop", pictures, "out")
    assert done.returncode == 1
    assert "7 done, 8 refused" in done.stdout
    assert "coffee.png: 600x400 is too small for 1216x832: --upscale 2.08 would enlarge it" in done.stdout
    assert done.stderr == ""
    again = datakit("crop", pictures, "out", "--json", "--upscale", "3")
    report = json.loads(again.stdout)
    assert (again.returncode, report["done"], report["skipped"], report["refused"]) == (0, 8, 7, [])
    assert {"source": "coffee.png", "kind": "enlarged", "warning": "enlarged 2.08 times"} in report["warnings"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(datakit, pictures, tmp_path):
    done = datakit("crop", pictures, "--dry-run", "--upscale", "3")
    plans = [json.loads(line) for line in done.stdout.splitlines()]
    assert [plan["source"] for plan in plans] == sorted(plan["source"] for plan in plans)
    assert all(len(plan["box"]) == 4 and plan["bucket"] and plan["anchor"] for plan in plans)
    assert "15 planned" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_plan_can_be_edited_and_applied(datakit, pictures, tmp_path):
    assert datakit("crop", pictures, "--plan", "plan.jsonl", "--bucket", "1024x1024").returncode == 1
    lines = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]
    lines[0] |= {"box": [0, 0, 1024, 1024], "anchor": "manual"}
    (tmp_path / "plan.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = datakit("crop", pictures, "out", "--apply", "plan.jsonl", "--json")
    report = json.loads(done.stdout)
    assert (report["done"], report["failed"]) == (len(lines), [])
    records = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert records[0]["anchor"] == "manual"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "out"), "datakit: nowhere does not exist"),
        (("src", "src/out"), "datakit: src/out lies inside the source folder src"),
        (("src", "out", "--bucket", "1x1"), "datakit: bucket '1x1' is not one of the sizes of sdxl"),
        (("src", "out", "--upscale", "0.5"), "datakit: upscale 0.5 is no factor of at least 1"),
        (("src", "out", "--background", "blurple"), "datakit: background 'blurple' is no colour"),
        (("src", "out", "--detector", "magic"), "'yunet', 'drawn', 'mediapipe', 'none'"),
        (("src",), "missing argument OUT"),
        (("src", "out", "--apply", "no.jsonl"), "datakit: no.jsonl cannot be read"),
    ],
)
def test_a_wrong_call_is_one_line_that_says_what_to_do(datakit, pictures, tmp_path, arguments, message):
    (tmp_path / "src").mkdir()
    shutil.copy(pictures / "fig.jpg", tmp_path / "src")
    done = datakit("crop", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_one_line(datakit, pictures, tmp_path):
    (tmp_path / "out").write_text("a file")
    done = datakit("crop", pictures, "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_without_a_system_library_the_package_is_named(datakit, pictures, tmp_path):
    # A stand-in for an OpenCV whose libGL is missing: it raises what the dynamic linker says.
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')")
    done = datakit("crop", pictures, "out", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "apt install libgl1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "fig.jpg").exists()


def test_without_a_system_library_a_plan_is_not_applied_picture_by_picture(datakit, pictures, tmp_path):
    datakit("crop", pictures, "--plan", "plan.jsonl", "--upscale", "3")
    (tmp_path / "cv2.py").write_text("raise OSError('libxcb.so.1: cannot open shared object file: No such file or directory')")
    for words in (("crop", pictures, "out", "--apply", "plan.jsonl"), ("crop", pictures, "out", "--saliency", "none")):
        done = datakit(*words, PYTHONPATH=str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert "OpenCV needs a system library" in done.stderr
        assert "apt install libgl1 libglib2.0-0" in done.stderr


def test_weights_of_every_network_are_looked_at_before_any_work(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "NANODET", models.Weights(models.NANODET.file, "0" * 64, "", ""))
    objects.network.cache_clear()
    with pytest.raises(WeightsError, match="not 0000"):
        crop_folder(pictures, tmp_path / "out", CropOptions(detector="none"))
    objects.network.cache_clear()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("libxcb.so.1: cannot open shared object file: No such file or directory", "apt install libgl1 libglib2.0-0"),
        ("libgthread-2.0.so.0: cannot open shared object file: No such file or directory", "apt install libgl1 libglib2.0-0"),
        ("libGLESv2.so.2: cannot open shared object file: No such file or directory", "apt install libegl1 libgles2"),
        ("libgomp.so.1: cannot open shared object file: No such file or directory", "holds libgomp.so.1"),
        ("dlopen(/x/cv2.abi3.so, 0x0002): Library not loaded: @rpath/libavif.16.dylib", "holds libavif.16.dylib"),
        ("cannot import name 'img_hash' from 'cv2' (/x/cv2.cpython-313-x86_64-linux-gnu.so)", None),
        ("/x/onnxruntime_pybind11_state.so: undefined symbol: foo", None),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by /x/cv2.abi3.so)", None),
    ],
)
def test_only_a_library_that_cannot_be_opened_is_called_missing(said, remedy):
    message = missing("OpenCV", ImportError(said))
    assert message is None if remedy is None else message.endswith(remedy)


def test_what_a_detector_opens_only_when_it_is_built_is_named_before_any_work(datakit, pictures, tmp_path):
    # A stand-in for a MediaPipe that opens libEGL not when it is imported, but when its detector is made.
    stand_in = tmp_path / "mediapipe" / "tasks" / "python"
    stand_in.mkdir(parents=True)
    (tmp_path / "mediapipe" / "__init__.py").touch()
    (tmp_path / "mediapipe" / "tasks" / "__init__.py").touch()
    (stand_in / "__init__.py").write_text("BaseOptions = dict\n")
    for library, remedy in (
        ("libEGL.so.1", "apt install libegl1 libgles2"),
        ("libunheardof.so.7", "install the package of your system that holds libunheardof.so.7"),
    ):
        (stand_in / "vision.py").write_text(
            "class FaceDetector:\n"
            "    def create_from_options(options):\n"
            f"        raise OSError('{library}: cannot open shared object file: No such file or directory')\n"
            "FaceDetectorOptions = dict\n"
        )
        done = datakit("crop", pictures, "out", "--detector", "mediapipe", PYTHONPATH=str(tmp_path))
        assert done.returncode == 2
        assert done.stderr.startswith(f"datakit: detector mediapipe needs a system library that is not installed ({library}")
        assert remedy in done.stderr
        assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.jpg"))


def test_an_edited_plan_is_not_overwritten(datakit, pictures, tmp_path):
    (tmp_path / "plan.jsonl").write_text("edited")
    assert "use --overwrite" in datakit("crop", pictures, "--plan", "plan.jsonl").stderr
    assert (tmp_path / "plan.jsonl").read_text() == "edited"


def test_a_plan_decides_alone(datakit, pictures):
    assert "leave out --sizes, --bucket" in datakit("crop", pictures, "out", "--apply", "p.jsonl", "--bucket", "1024x1024").stderr


def test_the_same_picture_in_colour_or_not(datakit, pictures):
    assert "\x1b[" not in datakit("crop", pictures, "out", NO_COLOR="1").stdout


def test_a_terminal_that_tells_no_size_shows_progress_too(pictures, tmp_path):
    primary, secondary = pytest.importorskip("pty").openpty()
    command = [
        sys.executable,
        "-m",
        "datakit",
        "crop",
        str(pictures),
        str(tmp_path / "out"),
        "--detector=none",
        "--saliency=none",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=secondary):
        os.close(secondary)
        shown = b""
        with contextlib.suppress(OSError):  # how the end of a terminal reads
            while more := os.read(primary, 1000):
                shown += more
    os.close(primary)
    assert b"crop:" in shown


def test_a_name_never_steers_the_terminal(datakit, pictures, tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    for name, picture in (("a\nb\x1b[31m\u3000.jpg", "fig.jpg"), ("c\rd.png", "camera.png")):
        shutil.copy(pictures / picture, source / name)
    (source / "e\nf.txt").touch()
    shown = datakit("crop", "src", "out").stdout
    assert not {"\x1b", "\r"} & set(shown)
    for name in ("a\\nb\\x1b[31m\u3000.jpg", "c\\rd.png", "e\\nf.txt"):
        assert sum(name in line for line in shown.splitlines()) == 1


def test_few_warnings_are_shown_and_many_counted(datakit, pictures, tmp_path):
    few = datakit("crop", pictures, "few").stdout
    assert "dandelion.jpg: placed by what may be no face (score 0." in few
    many = datakit("crop", pictures, "many", "--upscale", "3").stdout
    assert "9 warnings on 9 pictures (-v lists them; manifest.jsonl keeps them):" in many
    assert "  8 enlarged, 1 placed by what may be no face" in many
    planned = datakit("crop", pictures, "--dry-run", "--upscale", "3").stderr
    assert "9 warnings on 9 pictures (-v lists them):" in planned


def test_the_factor_that_would_take_all_is_named(datakit, pictures):
    shown = datakit("crop", pictures, "out").stdout
    assert "--upscale 2.777 would take all 8 that are too small" in shown
    assert datakit("crop", pictures, "out", "--upscale", "2.777").returncode == 0


def test_a_crop_that_used_nothing_is_the_reason_that_later_stages_give(datakit, pictures):
    assert datakit("crop", pictures, "out", "--max-pixels", "1000").returncode == 1
    for words in (("shuffle", "out", "copies"), ("backend", "out", "--cache-root", "cache"), ("check", "out")):
        done = datakit(*words)
        assert done.returncode == 2
        assert "out holds no pictures: the last crop used none of 15 pictures. astronaut.jpg: 512x512 is more than" in done.stderr


def test_captions_that_most_pictures_lack_are_told_by_crop(datakit, pictures, tmp_path):
    (tmp_path / "src").mkdir()
    for name in ("fig.jpg", "dandelion.jpg", "djembe.jpg"):
        shutil.copy(pictures / name, tmp_path / "src")
    shutil.copy(pictures / "fig.txt", tmp_path / "src")
    assert "note: 2 of 3 pictures have no caption" in datakit("crop", "src", "out").stdout
    shutil.copy(pictures / "fig.txt", tmp_path / "src" / "djembe.txt")
    assert "have no caption" not in datakit("crop", "src", "out").stdout


def test_two_jobs_give_the_bytes_of_one(datakit, awkward, tmp_path):
    datakit("crop", awkward / "names", "one", "--jobs", "1")
    datakit("crop", awkward / "names", "two", "--jobs", "2")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
