"""Change a module in one place at a time and name the changes that its tests let pass.

    python -m tests.mutate datakit/trainers/simpletuner/steps.py tests/trainers/test_training.py

A module, then the test files that are to hold it; ``--workers 2`` uses two cores, ``--lines 20-60`` changes those lines
alone. Operators, comparisons, numbers, truth values, ``and``/``or``/``not``, ``min``/``max`` and floor/ceil are changed;
docstrings, decorators and annotations are not. Every change is made in a copy of the package in a temporary folder.
Prints each change that no test noticed as ``file:line: before -> after``, then how many there were, and how many ran out
of time, which counts as noticed; progress goes to stderr. A survivor is a test to write, unless the changed program does
the same as before. For POSIX systems.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult, ast.FloorDiv), ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,), ast.Or: (ast.And,), ast.USub: (ast.UAdd,),
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
NAMES = {"min": "max", "ceil": "floor", "minimum": "maximum"}
NAMES |= {after: before for before, after in NAMES.items()}
UNTOUCHED = ("decorator_list", "annotation", "returns")


@dataclass(frozen=True)
class Mutant:
    line: int
    words: str
    source: str


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield each node that may stand in the place of this one."""

    def having(**fields) -> ast.AST:
        other = copy.copy(node)
        vars(other).update(fields)
        return other

    match node:
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() | ast.AugAssign() | ast.BoolOp() | ast.UnaryOp():
            yield from (having(op=other()) for other in OPERATORS.get(type(node.op), ()))
        case ast.Compare():
            for at, op in enumerate(node.ops):
                yield from (having(ops=[*node.ops[:at], other(), *node.ops[at + 1 :]]) for other in OPERATORS[type(op)])
        case ast.Constant(value=bool()):
            yield having(value=not node.value)
        case ast.Constant(value=int() | float()):
            yield from (having(value=value) for value in ([0, 2] if node.value == 1 else [node.value + 1]))
        case ast.Name() if node.id in NAMES:
            yield having(id=NAMES[node.id])
        case ast.Attribute() if node.attr in NAMES:
            yield having(attr=NAMES[node.attr])


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield what may be changed as parent, field, position in the field's list, and node."""
    for field, value in ast.iter_fields(node):
        # Where lengths are equal by construction, zip says the same with strict and without.
        if field in UNTOUCHED or (isinstance(node, ast.keyword) and node.arg == "strict"):
            continue
        for at, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield node, field, at, child
                yield from places(child)


def mutants(source: str, lines: range) -> Iterator[Mutant]:
    tree = ast.parse(source)
    for parent, field, at, node in places(tree):
        if getattr(node, "lineno", 0) not in lines:
            continue
        # A number says little alone; a whole table says too much.
        shown = parent if isinstance(node, ast.Constant | ast.Name) and not isinstance(parent, ast.Dict) else node
        before = ast.unparse(shown)
        for other in changed(node):
            held = getattr(parent, field)
            setattr(parent, field, other if at is None else [*held[:at], other, *held[at + 1 :]])
            after = ast.unparse(shown if shown is parent else other)
            yield Mutant(node.lineno, f"{before} -> {after}".replace("\n", " "), ast.unparse(tree))
            setattr(parent, field, held)


def run_tests(copied: Path, module: str, tests: list[str], loaded: Path | None = None) -> int:
    """Run the tests against the copy, in a process forked for it."""
    import pytest
    from hypothesis import Phase, settings

    settings.register_profile("mutate", deadline=None, database=None, phases=[Phase.explicit, Phase.generate])
    os.chdir(copied)
    sys.path[:] = [str(copied), *(entry for entry in sys.path if entry and Path(entry) != ROOT)]
    os.environ["PYTHONPATH"] = str(copied)
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "datakit")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-profile=mutate", "--hypothesis-seed=0"]
    code = pytest.main([*options, "-W", "ignore::pytest.PytestAssertRewriteWarning", *tests])
    # A module that its tests have not imported from the copy says nothing.
    found = sys.modules.get(module.removesuffix(".py").replace("/", "."))
    if loaded and (found is None or Path(found.__file__) != copied / module):
        return 99
    if loaded:
        loaded.write_text("\n".join(sys.modules))
    return int(code)


def start(copied: Path, module: str, tests: list[str], loaded: Path | None = None) -> int:
    """Start the tests in a process group of their own; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    with open(copied / "output", "wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    code = 98
    with contextlib.suppress(BaseException):
        code = run_tests(copied, module, tests, loaded)
    sys.stdout.flush()
    os._exit(code)


def ended(pid: int, deadline: float) -> int | None:
    """Return how a process ended, -1 where its time was up, None while it runs."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done and time.monotonic() < deadline:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) if done else (os.waitpid(pid, 0), -1)[1]


def make_copy(folder: Path) -> Path:
    folder.mkdir()
    for name in ("datakit", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("fixtures", "docs", "pyproject.toml", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def write(copied: Path, module: str, source: str) -> None:
    """Write the module; a cache of the last one may have the same size and second."""
    (copied / module).write_text(source, encoding="utf-8")
    Path(importlib.util.cache_from_source(str(copied / module))).unlink(missing_ok=True)


def judged(
    module: str, tests: list[str], waiting: list[Mutant], workers: int, timeout: float, folder: Path
) -> Iterator[tuple[Mutant, int]]:
    """Yield each mutant with how its tests ended: 0 where none failed, -1 where their time was up."""
    source, number = (ROOT / module).read_text(encoding="utf-8"), len(waiting)
    copies = [make_copy(folder / str(worker)) for worker in range(workers)]
    # The source as ast writes it must pass; and what it loads of other packages, every later process starts with.
    for copied in copies:
        write(copied, module, ast.unparse(ast.parse(source)))
        pid, deadline = start(copied, module, tests, folder / "loaded"), time.monotonic() + timeout
        while (code := ended(pid, deadline)) is None:
            time.sleep(0.02)
        if code:
            sys.exit(f"the unchanged {module} fails (exit code {code}):\n{(copied / 'output').read_text()}")
        for name in (folder / "loaded").read_text().splitlines():
            if name.split(".")[0] not in ("tests", "datakit", "conftest", "fixtures_make", "__main__"):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
    running: dict[int, tuple[Path, Mutant, float]] = {}
    try:
        while waiting or running:
            while waiting and copies:
                copied, mutant = copies.pop(), waiting.pop(0)
                write(copied, module, mutant.source)
                running[start(copied, module, tests)] = copied, mutant, time.monotonic() + timeout
            time.sleep(0.02)
            for pid, (copied, mutant, deadline) in list(running.items()):
                if (code := ended(pid, deadline)) is not None:
                    del running[pid]
                    copies.append(copied)
                    print(f"{number - len(waiting)}/{number} line {mutant.line}: {code}", file=sys.stderr)
                    yield mutant, code
    finally:
        for pid in running:
            ended(pid, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", help="path of the module in the checkout")
    parser.add_argument("tests", nargs="+", help="paths of the test files")
    parser.add_argument("--workers", type=int, default=1, choices=(1, 2), help="mutants at a time (default 1)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds after which a mutant counts as noticed (default 60)")
    parser.add_argument("--lines", default="1-999999", help="first and last line to change")
    chosen = parser.parse_args()
    first, last = map(int, chosen.lines.split("-"))
    made = list(mutants((ROOT / chosen.module).read_text(encoding="utf-8"), range(first, last + 1)))
    codes = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        for mutant, code in judged(chosen.module, chosen.tests, list(made), chosen.workers, chosen.timeout, place):
            codes.append(code)
            if code == 0:
                print(f"{chosen.module}:{mutant.line}: {mutant.words}", flush=True)
    print(f"{chosen.module}: {len(made)} mutants, {codes.count(0)} survive, {codes.count(-1)} ran out of time")


if __name__ == "__main__":
    main()
