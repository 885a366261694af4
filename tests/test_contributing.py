"""CONTRIBUTING.md is true: its detector finds faces, and the files and names that it speaks of are there."""

from __future__ import annotations

import re
import sys

import numpy as np

from datakit import CropOptions, crop_folder, read_manifest
from datakit.detect import DETECTORS, face_detector
from tests.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_detector_needs_its_module_and_its_line_alone(tmp_path, monkeypatch, pictures):
    (tmp_path / "skin_detector.py").write_text(re.search(r"<!-- detector -->\n```python\n(.*?)```", TEXT, re.DOTALL)[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    name, path = re.search(r'^"(\w+)": "([\w.:]+)",$', TEXT, re.MULTILINE).groups()
    assert path == "datakit.detect.skin:build"
    monkeypatch.setitem(DETECTORS, name, "skin_detector:build")
    blank = np.zeros((90, 120, 3), np.uint8)
    assert face_detector(name)(blank) == []
    blank[20:50, 30:70] = (200, 120, 90)
    (face,) = face_detector(name)(blank)
    assert tuple(face.box) == (30, 20, 70, 50)
    assert crop_folder(pictures, tmp_path / "out", CropOptions(detector=name, saliency="none")).done
    assert any(record.anchor == "face" for record in read_manifest(tmp_path / "out"))
    sys.modules.pop("skin_detector")


def test_every_file_and_name_is_there():
    for path in re.findall(r"`((?:datakit|tests|docs|fixtures|\.ci)/[\w./-]*)`", TEXT):
        assert (
            path in ("datakit/trainers/", "datakit/detect/skin.py", "tests/trainers/test_NAME.py")
            or "NAME" in path
            or (ROOT / path).exists()
        ), path
    for name, path in re.findall(r"`([A-Z_]+)`\s+of\s+`(datakit/[\w./]+)`", TEXT):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE), name
    for dotted in re.findall(r"`(datakit(?:\.\w+)+)`", TEXT):
        *module, last = dotted.split(".")
        home = ROOT.joinpath(*module).with_suffix(".py")
        assert (
            re.search(rf"^(?:class|def) {last}\b", home.read_text("utf-8"), re.MULTILINE)
            if home.exists()
            else ROOT.joinpath(*module, f"{last}.py").exists()
        ), dotted
