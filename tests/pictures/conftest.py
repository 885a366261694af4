"""Crop one picture of a bucket's size, given as bytes, and look at what comes out."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, Execution, Size, crop_folder
from datakit.sizes import SIZE_SETS
from tests.pictures.making import SIDE

PLAIN = {"sizes": "quarters", "detector": "none", "saliency": "none", "format": "png", "upscale": 40}


class Out(NamedTuple):
    report: object
    pixels: np.ndarray | None
    data: bytes | None

    @property
    def kinds(self):
        return [warning.kind for _, warning in self.report.warnings if warning.kind not in ("caption-missing", "enlarged")]

    @property
    def sentences(self):
        return [warning.sentence for _, warning in self.report.warnings]

    @property
    def why(self):
        return [problem.reason for problem in (*self.report.refused, *self.report.failed)]


@pytest.fixture
def crop(tmp_path, monkeypatch):
    """Crop bytes under a name."""
    monkeypatch.setitem(SIZE_SETS, "quarters", (Size(SIDE, SIDE), Size(288, 224), Size(224, 288)))

    def run(data, name="a.png", **options):
        source, output = tmp_path / "src", tmp_path / "out"
        source.mkdir(exist_ok=True)
        for old in source.iterdir():
            old.unlink()
        (source / name).write_bytes(data)
        report = crop_folder(source, output, CropOptions(**PLAIN | options), execution=Execution(overwrite=True))
        if not report.done:
            return Out(report, None, None)
        made = output / f"{os.path.splitext(name)[0]}.png"  # outputs of earlier calls lie beside it
        with Image.open(made) as image:
            assert image.mode == "RGB"
            return Out(report, np.asarray(image).astype(float), made.read_bytes())

    return run
