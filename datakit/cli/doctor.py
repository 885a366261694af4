"""``datakit doctor``: what is installed, what is missing and how to get it, and what this machine can do."""

from __future__ import annotations

import ctypes
import importlib.metadata
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from datakit import __version__
from datakit.cli.sections import SectionedCommand
from datakit.cli.shared import cores, json_option, print_json

# What MediaPipe opens when it builds its first detector; importing it to see takes seconds.
_OPENED_BY_MEDIAPIPE = ("libEGL.so.1", "libGLESv2.so.2")

# The wheel that holds cv2, and others that hold it too.
_OPENCV, _RIVALS = "opencv-contrib-python", ("opencv-python", "opencv-python-headless", "opencv-contrib-python-headless")


@click.command(cls=SectionedCommand)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, folder: Path, as_json: bool) -> None:
    """Say what is installed, what is missing, and what this machine can do: for you, and for a report of a fault.

    Listed are the versions of datakit and all that it needs, what each extra would bring and how to install it, whether
    the detectors' weights are whole, how many cores there are, and whether hard links work in FOLDER, by default the
    one it is started in: shuffle and the trainers' views write a picture once instead of many times where they do.

    Exit 1 where something is missing or damaged that datakit cannot do without, else 0.

    \b
    datakit doctor
    datakit doctor /mnt/data --json
    """
    from datakit.dataset.links import why_not_hard

    found = _installed()
    found["cores"] = cores()
    found["hard_links"] = {"folder": str(folder), "why_not": why_not_hard(folder)}
    found["free_bytes"] = shutil.disk_usage(folder).free
    if as_json:
        print_json(found)
    else:
        _print(found)
    ctx.exit(1 if found["problems"] else 0)


def _installed() -> dict[str, Any]:
    """Return versions, extras, and a sentence for each thing that is missing or damaged."""
    from datakit.libraries import EXTRAS, installer, to_install, to_install_extra

    packages = {name: _version(name) for name in _needed()}
    extras = {
        name: {
            "packages": {package: _version(package) for package in extra.packages},
            "brings": extra.brings,
            "install": to_install_extra(name),
        }
        for name, extra in EXTRAS.items()
    }
    problems = [f"{name} is not installed: {to_install(name)}" for name, version in packages.items() if version is None]
    problems += [
        f"{name} overwrites files of opencv-contrib-python: uninstall both, then {to_install(_OPENCV)}"
        for name in _RIVALS
        if _version(name)
    ]
    problems += _system_libraries(mediapipe=_version("mediapipe") is not None)
    problems += _weights()
    return {
        "datakit": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "installed_by": installer(),
        "packages": packages,
        "extras": extras,
        "plugins": _plugins(),
        "problems": problems,
    }


def _needed() -> list[str]:
    """Return the names of the packages that datakit does not go without, as its own metadata lists them."""
    try:
        listed = importlib.metadata.requires("datakit") or []
    except importlib.metadata.PackageNotFoundError:
        return []  # run from its sources
    names = (re.match(r"[\w.-]+", line) for line in listed if "extra ==" not in line)
    return sorted((match[0] for match in names if match), key=str.lower)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plugins() -> dict[str, dict[str, str | None]]:
    """Return what Pillow reads more formats with, which is the user's to install: parts of it are under the GPL."""
    from datakit.libraries import to_install
    from datakit.picture.formats import PLUGINS

    return {
        kind: {"version": _version(package), "brings": brings, "install": to_install(package)}
        for kind, (package, _, brings) in PLUGINS.items()
    }


def _system_libraries(*, mediapipe: bool) -> list[str]:
    """Return a sentence for each package of the system that is missing."""
    from datakit.errors import MissingLibraryError
    from datakit.libraries import check_opencv, missing

    found: list[str] = []
    try:
        check_opencv()
    except ModuleNotFoundError:
        pass  # named among the packages
    except MissingLibraryError as error:
        found.append(str(error))
    for library in _OPENED_BY_MEDIAPIPE if mediapipe and sys.platform == "linux" else ():
        try:
            ctypes.CDLL(library)
        except OSError as error:
            found.append(missing("detector mediapipe", error) or str(error))
    return found


def _weights() -> list[str]:
    """Return a sentence for each file of weights that is not as it was shipped."""
    from datakit.detect.models import ANIME_FACE, BLAZE_FACE, NANODET, YUNET, load
    from datakit.errors import WeightsError

    found = []
    for weights in (YUNET, BLAZE_FACE, NANODET, ANIME_FACE):
        try:
            load(weights)
        except WeightsError as error:
            found.append(str(error))
    return found


def _print(found: dict[str, Any]) -> None:
    """Print it for people, with nothing that names them or their folders but the one that was asked for."""
    from datakit.report import in_bytes

    click.echo(f"datakit {found['datakit']}, Python {found['python']}, {found['system']}, installed by {found['installed_by']}")
    links = found["hard_links"]
    works = "work" if links["why_not"] is None else f"do not work ({links['why_not']}): copies take room"
    click.echo(f"cores: {found['cores']}; hard links in {links['folder']}: {works}; free there: {in_bytes(found['free_bytes'])}")
    rows = [(name, version or "not installed") for name, version in found["packages"].items()]
    for name, each in found["extras"].items():
        there = ", ".join(f"{package} {version}" for package, version in each["packages"].items())
        missing = f"not installed; {each['brings']}: {each['install']}"
        rows.append((f"extra {name}", there if all(each["packages"].values()) else missing))
    rows += [
        (f"pictures {kind}", each["version"] or f"not installed; {each['brings']}: {each['install']}")
        for kind, each in found["plugins"].items()
    ]
    width = max(len(name) for name, _ in rows)
    for name, told in rows:
        click.echo(f"  {name:{width}}  {told}")
    for sentence in found["problems"]:
        click.echo(f"problem: {sentence}")
    if not found["problems"]:
        click.echo("nothing that datakit needs is missing")
