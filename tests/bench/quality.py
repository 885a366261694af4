"""Compare what datakit writes with a full decode and Pillow's Lanczos: python -m tests.bench.quality --cache CACHE.

The pixels are compared before they are encoded, so that only decode and resize are judged, and after, beside what
encoding the reference at the same quality costs.
"""

from __future__ import annotations

import argparse
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from datakit.crop.folder import plan_crop
from datakit.crop.options import CropOptions
from datakit.picture.encoding import encode
from datakit.picture.images import decode, open_picture
from datakit.picture.resampling import render
from tests.bench.corpus import KINDS, build
from tests.bench.measure import median, table

REQUIRED = 40.0


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two RGB pictures of one size, in dB."""
    difference = np.asarray(one, np.float32) - np.asarray(other, np.float32)
    error = float(np.mean(difference**2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def main() -> None:
    """Print the lowest and the median PSNR of each kind; exit with 1 where one is too low."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="where the corpus is kept")
    parser.add_argument("--pictures", type=int, default=12, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    lowest, rows = math.inf, []
    for kind, folder in build(options.cache / "corpus", options.cache, options.pictures, tuple(options.kinds)).items():
        pairs = [_compare(path) for path in sorted(folder.iterdir())[: options.pictures]]
        pixels, files = ([pair[column] for pair in pairs] for column in (0, 1))
        lowest = min(lowest, *pixels)
        rows.append((kind, f"{min(pixels):.1f}", f"{median(pixels):.1f}", f"{min(files):.1f}", f"{median(files):.1f}"))
    print(table(("dB", "pixels, min", "median", "files, min", "median"), rows))
    raise SystemExit(lowest < REQUIRED)


def _compare(path: Path) -> tuple[float, float]:
    plan = plan_crop(path, CropOptions(detector="none", saliency="none"))
    picture = open_picture(path)
    ours = render(picture, decode(picture, plan.box.size, plan.bucket), plan.box, plan.bucket)
    reference = Image.open(path).convert("RGB").resize(plan.bucket, Image.Resampling.LANCZOS, box=plan.box)
    written = Image.open(io.BytesIO(encode(ours, "png" if KINDS[path.parent.name].suffix == ".png" else "jpg", 95)))
    return psnr(ours, reference), psnr(written.convert("RGB"), reference)


if __name__ == "__main__":
    main()
