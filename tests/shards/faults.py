"""Has a process of datakit die at a place in it, whichever process comes by there.

A file in a folder stands for a place. With ``once`` in it, the process that takes it away dies; with ``always``, every one.
"""

from __future__ import annotations

import os
from pathlib import Path

# Python runs a module of this name when it starts. A place is looked for in a module when that is imported, so that
# processes that do not import it begin as fast as ever.
_SITE = """
import importlib.util, os, signal, sys

FOLDER = os.environ["FAULTS"]
PLACES = {
    "datakit.crop.picture": ("picture", "read_picture", lambda data, source, most: source == "flower.jpg"),
    "datakit.shards.cropping": ("worker", "write_shard", lambda folder, *_: (folder / "flower.jpg").exists()),
    "datakit.shards.run": ("driver", "_line", lambda name, held: True),
}

def is_due(place):
    path = os.path.join(FOLDER, place)
    try:
        if open(path).read() == "once":
            os.unlink(path)
        return True
    except FileNotFoundError:
        return False

class Faults:
    def find_spec(self, module, path=None, target=None):
        if module not in PLACES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(module)
        sys.meta_path.insert(0, self)
        load = spec.loader.exec_module
        def exec_module(loaded):
            load(loaded)
            place, name, of = PLACES[module]
            true = getattr(loaded, name)
            def dies(*arguments):
                if of(*arguments) and is_due(place):
                    os.kill(os.getpid(), signal.SIGKILL)
                return true(*arguments)
            setattr(loaded, name, dies)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Faults())
"""


class Faults:
    """Places where processes die that are begun with `environment`; see the module."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "faults"
        self._folder.mkdir()
        (folder / "sitecustomize.py").write_text(_SITE)
        paths = [str(folder), os.environ.get("PYTHONPATH", os.getcwd())]
        self.environment = {"FAULTS": str(self._folder), "PYTHONPATH": os.pathsep.join(paths)}

    def __call__(self, *places: str, always: bool = False) -> None:
        """Have a process die that comes by each of these places, the first one or every one."""
        for place in places:
            (self._folder / place).write_text("always" if always else "once")

    def left(self) -> list[str]:
        """Return the places where no process has died so far."""
        return sorted(path.name for path in self._folder.iterdir())

    def clear(self) -> None:
        """Have no more processes die."""
        for path in self._folder.iterdir():
            path.unlink()
