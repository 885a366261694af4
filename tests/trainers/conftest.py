"""Small real datasets, written as the stages write them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from datakit.audit.checks import Finding, check_dataset, list_files
from datakit.audit.concept import read_concept
from datakit.audit.looks import look_at_all
from datakit.dataset.manifest import MANIFEST, Record, to_line
from datakit.dataset.metadata import METADATA, metadata_rows
from datakit.dataset.origin import Origin, remember_origin
from datakit.dataset.store import Store
from datakit.geometry import Size
from datakit.sizes import DEFAULT_SIZES
from datakit.trainers import DEFAULT, trainer
from tests.conftest import BUCKETS

MakeDataset = Callable[..., Path]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(command, *arguments, exit_code=0):
        result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == exit_code, result.output
        return result

    return run


def findings_of(folder: Path) -> list[Finding]:
    """Check a dataset as the commands do."""
    concept, files, target = read_concept(folder), list_files(folder), trainer(DEFAULT)
    left = {leftover.path.name: leftover.what for leftover in target.left_behind(concept, {concept.id})}
    return check_dataset(concept, files, look_at_all(folder, files), target, left)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def draw(path: Path, size: Size, number: int, blur: float = 0.0) -> None:
    """Write a picture of coarse noise that differs for each number."""
    import numpy as np
    from PIL import Image, ImageFilter

    noise = np.random.default_rng(number).integers(0, 255, (size.height // 16, size.width // 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.NEAREST)
    image = image.filter(ImageFilter.GaussianBlur(blur)) if blur else image
    image.save(path, **({"compress_level": 1} if path.suffix == ".png" else {"quality": 90}))


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Return a function that writes a dataset folder with pictures, captions and manifest."""

    def make(
        name: str = "out",
        buckets: Sequence[Size] = BUCKETS,
        copies: int = 1,
        lines: int | Sequence[int] = 1,
        scale: float | None = None,
        stage: str = "crop",
        sizes: str = DEFAULT_SIZES,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        with Store(folder) as store:
            remember_origin(store.folder, Origin(stage, str(tmp_path / "src")))
        records, metadata = [], []
        for number, bucket in enumerate(buckets):
            count = lines if isinstance(lines, int) else lines[number]
            for copy in range(1, copies + 1):
                stem = f"p{number:02}" + (f"_{copy}" if copies > 1 else "")
                picture, caption = folder / f"{stem}.jpg", folder / f"{stem}.txt"
                draw(picture, bucket, number)
                text = "\n".join(f"ohwx, token {number}, line {line}, copy {copy}" for line in range(count))
                caption.write_text(text)
                records.append(
                    Record(
                        output=picture.name, bucket=bucket, source=f"s{number:02}.jpg", source_sha256="0" * 64, output_sha256=sha256(picture), key="k", version="0",
                        caption=caption.name, caption_sha256=sha256(caption), captions=count, scale=scale, sizes=sizes,
                        copy=copy if copies > 1 else None,
                    ),
                )  # fmt: skip
                metadata.append(metadata_rows(picture.name, text))
        (folder / MANIFEST).write_bytes(b"".join(map(to_line, records)))
        (folder / METADATA).write_bytes(b"".join(metadata))
        return folder

    return make
