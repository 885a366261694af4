"""The three commands, one after the other, as they stand in the README."""

from __future__ import annotations

import json
import shutil


def test_the_three_commands_run_one_after_the_other(datakit, tmp_path, pictures):
    source = tmp_path / "src"
    source.mkdir()
    for stem in ("fig", "djembe"):
        shutil.copy(pictures / f"{stem}.jpg", source)
        shutil.copy(pictures / f"{stem}.txt", source)
    assert datakit("crop", "src/", "out/").returncode == 0
    shuffled = datakit("shuffle", "--repeats", "5", "--keep", "2")
    assert shuffled.returncode == 0
    assert shuffled.stderr == "using out/ (from the last crop)\n"
    audit = datakit("captions", "audit")
    assert (
        audit.stderr == f"using out_shuffled/ (from the last shuffle, so each copy counts; what it read is {tmp_path / 'out'})\n"
    )
    backend = datakit("backend", "--cache-root", "cache/")
    assert (backend.returncode, backend.stderr) == (0, "using out_shuffled/ (from the last shuffle)\n")
    entries = json.loads((tmp_path / "multidatabackend.json").read_text())
    assert entries[0]["instance_data_dir"] == str(tmp_path / "out_shuffled")
    assert "repeats" not in entries[0]
