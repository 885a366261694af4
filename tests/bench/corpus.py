"""Build a corpus as cameras and screens make it, from freely licensed pictures; the same call gives the same files.

    python -m tests.bench.corpus FOLDER --cache CACHE --pictures 12

FOLDER gets a folder for each kind in `KINDS`. The pictures come from Debian's wallpaper packages, downloaded to
CACHE where `apt-get` can, else from `fixtures/pictures`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFilter, ImageOps

FIXTURES = Path(__file__).parents[2] / "fixtures" / "pictures"
PACKAGES = ("plasma-workspace-wallpapers", "gnome-backgrounds", "mate-backgrounds")
# Where the face of fixtures/pictures/astronaut.jpg lies, with her head and shoulders.
_PORTRAIT = (60, 0, 420, 400)
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """What the pictures of one folder have in common; every fourth stands upright."""

    name: str
    suffix: str
    width: int
    height: int
    smallest: float
    largest: float


KINDS = {
    kind.name: kind
    for kind in (
        Kind("jpeg12", ".jpg", 4000, 3000, 3, 6),
        Kind("jpeg2", ".jpg", 1920, 1280, 0.5, 2),
        Kind("png2", ".png", 1600, 1200, 1, 6),
    )
}


def build(folder: Path, cache: Path, pictures: int, kinds: tuple[str, ...] = tuple(KINDS)) -> dict[str, Path]:
    """Fill a folder a kind with this many pictures and return the folders; what is there already is kept."""
    sources = _photographs(cache)
    portrait = Image.open(FIXTURES / "astronaut.jpg").convert("RGB").crop(_PORTRAIT)
    for name in kinds:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            path = folder / name / f"{number:03}{KINDS[name].suffix}"
            if not path.exists():
                path.write_bytes(_picture(KINDS[name], sources[number % len(sources)], number, portrait))
    return {name: folder / name for name in kinds}


def _photographs(cache: Path) -> list[Path]:
    """Return large photographs, from Debian's packages if they can be had."""
    unpacked = cache / "wallpapers"
    if not unpacked.exists() and shutil.which("apt-get") and shutil.which("dpkg"):
        downloads = cache / "debs"
        downloads.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=downloads, check=False, capture_output=True)
        for package in sorted(downloads.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, unpacked], check=True)
    # Their PNG files are drawings; a stride mixes the packages.
    found = [path for path in sorted(unpacked.rglob("*.jpg")) if path.stem != "screenshot" and not path.is_symlink()]
    large = [path for path in found if min(Image.open(path).size) >= 1200]
    own = [path for path in sorted(FIXTURES.glob("*.jpg")) if min(Image.open(path).size) >= 500]
    return [path for start in range(5) for path in large[start::5]] + own


def _picture(kind: Kind, source: Path, number: int, portrait: Image.Image) -> bytes:
    random = np.random.default_rng(number)
    size = (kind.width, kind.height) if number % 4 != 3 else (kind.height, kind.width)
    centre = (random.uniform(0.2, 0.8), random.uniform(0.2, 0.8))
    image = ImageOps.fit(Image.open(source).convert("RGB"), size, Image.Resampling.LANCZOS, centering=centre)
    image = image.filter(ImageFilter.UnsharpMask(1.5, 80, 2))
    if number % 3 == 0:
        side = round(min(size) * random.uniform(0.3, 0.6))
        face = ImageOps.contain(portrait, (side, side), Image.Resampling.LANCZOS)
        image.paste(face, (round((size[0] - face.width) * random.random()), round((size[1] - face.height) * random.random())))
    grain = random.standard_normal((size[1], size[0], 1), np.float32)
    pixels = np.asarray(image, np.float32)
    # Cameras differ in grain and in quality: the mildest of both that gives a file of the right size.
    content = b""
    for strength, quality in ((2.5, 95), (2.5, 90), (2.5, 84), (5, 95), (5, 90), (8, 95), (1, 90), (0, 84)):
        noisy = Image.fromarray(np.clip(pixels + strength * grain, 0, 255).astype(np.uint8))
        content = _encoded(noisy, kind, quality, srgb=number % 2 == 0)
        if kind.smallest <= len(content) / _MEGABYTE <= kind.largest:
            break
    return content


def _encoded(image: Image.Image, kind: Kind, quality: int, *, srgb: bool) -> bytes:
    target = io.BytesIO()
    profile = _srgb_profile() if srgb else None
    if kind.suffix == ".png":
        image.save(target, "PNG", icc_profile=profile)
    else:
        image.save(target, "JPEG", quality=quality, subsampling="4:2:0", icc_profile=profile)
    return target.getvalue()


@lru_cache(maxsize=1)
def _srgb_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # ICC.1:2022, 7.2.1: bytes 24 to 35 are the time of its making, 84 to 99 a checksum that covers it.
    return profile[:24] + bytes(12) + profile[36:84] + bytes(16) + profile[100:]


def main() -> None:
    """Build the corpus named on the command line and say how large its files are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    parser.add_argument("--pictures", type=int, default=12, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    for name, folder in build(options.folder, options.cache, options.pictures, tuple(options.kinds)).items():
        sizes = [path.stat().st_size / _MEGABYTE for path in sorted(folder.iterdir())]
        print(f"{name}: {len(sizes)} pictures of {min(sizes):.1f} to {max(sizes):.1f} MB")


if __name__ == "__main__":
    main()
