"""docs/architecture.md is true: its rooms are those of the package, in the order that imports are held to."""

from __future__ import annotations

import re
import tomllib

from tests.conftest import ROOT

DOC = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ROWS = re.findall(r"^\| ((?:`\w+/?`(?:, )?)+) \|", DOC, re.MULTILINE)
ROOMS = [re.findall(r"`(\w+)/?`", row) for row in ROWS]
MOST_LINES, MOST_ROOMS = 400, 21


def modules():
    return [path for path in (ROOT / "datakit").rglob("*.py") if "__pycache__" not in path.parts]


def test_every_room_of_the_package_has_its_job_named():
    package = ROOT / "datakit"
    there = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert sorted(room for row in ROOMS for room in row) == sorted(there - {"__init__"})
    assert len(there) <= MOST_ROOMS


def test_the_rooms_stand_in_the_order_that_imports_are_held_to():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [layer.split(" | ") for layer in contract["layers"]]
    place = {room: number for number, layer in enumerate(layers) for room in layer}
    order = [place[room] for row in ROOMS for room in row]
    assert order == sorted(order)


def test_every_name_of_a_module_or_function_is_there():
    named = re.findall(
        r"`((?:cli|trained|review|shards|crop|shuffle|trainers|audit|run|detect|dataset|picture)[./][\w./]+)`", DOC
    )
    assert len(named) > 10
    for name in named:
        parts = name.rstrip("/").removesuffix(".py").replace("/", ".").split(".")
        place = ROOT / "datakit"
        while parts and (place / parts[0]).is_dir():
            place /= parts.pop(0)
        if parts:
            place = place / f"{parts.pop(0)}.py"
            assert place.is_file(), name
        for part in parts:
            assert re.search(rf"^(?:def|class) {part}\b|^    def {part}\b", place.read_text("utf-8"), re.MULTILINE), name


def test_every_module_says_its_job_first_and_none_is_too_long():
    for path in modules():
        assert path.read_text("utf-8").startswith('"""'), path
    page = (ROOT / "datakit").rglob("page/*.*s")  # scripts and styles
    for path in (*modules(), *page, ROOT / "datakit" / "review" / "static.css"):
        assert path.read_text("utf-8").count("\n") <= MOST_LINES, path


def test_a_trainer_is_known_by_name_alone_outside_its_folder():
    trainers = ROOT / "datakit" / "trainers"
    folders = "|".join(path.parent.name for path in trainers.glob("*/__init__.py"))
    # The commands that write, convert and check SimpleTuner's own config files.
    its_own = {ROOT / "datakit" / "cli" / "config.py", ROOT / "datakit" / "cli" / "convert.py"}
    for path in modules():
        if path.parent == trainers or trainers not in path.parents:
            imported = re.findall(
                rf"^ *(?:from|import) datakit\.trainers\.(?:{folders})\b", path.read_text("utf-8"), re.MULTILINE
            )
            assert path in its_own or not imported, path
