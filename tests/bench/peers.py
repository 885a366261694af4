"""Who datakit is measured against: how each is found, installed and called."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datakit.geometry import Size

# One worker means one thread.
ENVIRONMENT = {"VIPS_CONCURRENCY": "1", "OMP_NUM_THREADS": "1", "MAGICK_THREAD_LIMIT": "1"}
# What each peer that is a Python package is installed from.
PACKAGES = {"pyvips": "pyvips[binary]", "smartcrop": "smartcrop", "autocrop": "autocrop==2.0.0", "datasety": "datasety"}
_LOOPS = Path(__file__).with_name("loops.py")

# Makes the command that turns pictures into pictures of one size in a folder.
Maker = Callable[[Sequence[Path], Size, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A program and how it is called; ``missing`` says how to install it where it is not there."""

    name: str
    command: Maker
    missing: str = ""


def find_peers(cache: Path, names: Sequence[str] = ()) -> list[Peer]:
    """Return all peers, or those named; packages are installed under ``cache``, each into an environment of its own."""
    found: dict[str, Callable[[], Peer]] = {
        "limit": lambda: Peer("limit", partial(_loop, sys.executable, "limit")),
        "vipsthumbnail": lambda: Peer("vipsthumbnail", _vipsthumbnail, _absent("vipsthumbnail", "libvips-tools")),
        **{name: partial(_package, name, cache) for name in ("pyvips", "smartcrop", "autocrop", "datasety")},
        "imagemagick": lambda: Peer("imagemagick", _mogrify, _absent("mogrify", "imagemagick")),
        "pillow": lambda: Peer("pillow", partial(_loop, sys.executable, "pillow")),
    }
    return [find() for name, find in found.items() if not names or name in names]


def _package(name: str, cache: Path) -> Peer:
    home = cache / f"venv-{name}"
    python = home / "bin" / "python"
    missing = ""
    if not python.exists():
        venv.create(home, with_pip=True)
        done = subprocess.run([python, "-m", "pip", "install", "-q", PACKAGES[name]], check=False, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(home)
            missing = f"pip install '{PACKAGES[name]}' failed"
    return Peer(name, partial(_datasety, home) if name == "datasety" else partial(_loop, str(python), name), missing)


def _absent(program: str, package: str) -> str:
    return "" if shutil.which(program) else f"apt install {package}"


def _loop(python: str, name: str, pictures: Sequence[Path], size: Size, out: Path) -> list[str]:
    return [python, str(_LOOPS), name, str(size.width), str(size.height), str(out), *map(str, pictures)]


def _vipsthumbnail(pictures: Sequence[Path], size: Size, out: Path) -> list[str]:
    suffix = pictures[0].suffix
    target = f"{out.resolve()}/%s{suffix}" + ("[Q=95]" if suffix == ".jpg" else "")
    return ["vipsthumbnail", "-s", f"{size}", "--smartcrop", "attention", "-o", target, *map(str, pictures)]


def _mogrify(pictures: Sequence[Path], size: Size, out: Path) -> list[str]:
    # With this hint it decodes a JPEG at the smallest scale that still covers.
    jpeg = ["-define", f"jpeg:size={size}", "-quality", "95"] if pictures[0].suffix == ".jpg" else []
    shape = ["-resize", f"{size}^", "-gravity", "center", "-extent", f"{size}"]
    return ["mogrify", "-path", str(out), *jpeg, *shape, *map(str, pictures)]


def _datasety(home: Path, pictures: Sequence[Path], size: Size, out: Path) -> list[str]:
    links = out / "sources"
    links.mkdir(parents=True)
    for picture in pictures:
        (links / picture.name).symlink_to(picture.resolve())
    written = pictures[0].suffix[1:]
    program = str(home / "bin" / "datasety")
    return [program, "resize", "-i", str(links), "-o", str(out), "-r", f"{size}", "--output-format", written]
