"""Links of checkpoints where ComfyUI finds them; ComfyUI remembers files by name, so that a name is never given to other content.

Seen in ComfyUI 0.3.75, and read in 0.38.1: a loader that has read a file once gives the old weights again when another file
comes under the same name. `.datakit/links.json` keeps each name that was ever given, with what it stands for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import msgspec

from datakit.dataset.fingerprints import hash_file
from datakit.dataset.layout import LINKS
from datakit.dataset.links import place as put
from datakit.dataset.manifest import NOT_JSON, write_atomically
from datakit.dataset.remembered import one_at_a_time
from datakit.errors import SampleError, UsageError, WeightsFileError
from datakit.trained.checkpoints.describe import ALPHA_AT_MOST, Checkpoint
from datakit.trained.checkpoints.layouts import SUFFIX
from datakit.trained.checkpoints.mend import Mending, mending, write_mended
from datakit.trained.weights.header import Header
from datakit.trained.weights.merge import check_room


class Name(msgspec.Struct):
    """What a name stands for.

    Attributes
    ----------
    sha256
        Of the checkpoint that it is made from.
    content
        Of what is called so: the same, or made of that and the new beginning of a mended copy.
    source, size, changed
        The checkpoint's file, its bytes and time of change (ns), by which it is known without being read.
    kind
        link, copy or mended.
    gone
        Whether it is no longer there: the name is not used again.
    """

    sha256: str
    content: str
    source: str
    size: int
    changed: int
    kind: Literal["link", "copy", "mended"]
    gone: bool = False


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How checkpoints are linked.

    Attributes
    ----------
    name
        Of the folder and before each label.
    copy
        Copies instead of links.
    as_is
        Links even where ComfyUI would not read a file as it was trained.
    alpha
        For layers without one, where the file says nothing of it.
    prune
        Also delete links of this command's own whose checkpoint is gone.
    dry_run
        Only say what would be done.
    """

    name: str
    copy: bool = False
    as_is: bool = False
    alpha: float | None = None
    prune: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Linked:
    """What was done.

    Attributes
    ----------
    folder
        Where the links lie.
    made, kept
        (name, what was done) of this run, and names that were there already.
    refused
        (checkpoint, why) of those that were not linked.
    notes
        What else is to be known: names that are no longer used, copies that are the only ones left.
    pruned
        Names that were deleted.
    """

    folder: Path
    made: list[tuple[str, str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "folder": str(self.folder),
            "made": [{"name": name, "how": how} for name, how in self.made],
            "kept": self.kept,
            "refused": [{"checkpoint": checkpoint, "why": why} for checkpoint, why in self.refused],
            "notes": self.notes,
            "pruned": self.pruned,
        }


def read_names(folder: Path) -> dict[str, Name]:
    """Return the names that were given in a folder of links; none where nothing was linked there.

    Raises
    ------
    UsageError
        What was noted of them cannot be read.
    """
    path = folder / LINKS
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Name])
    except FileNotFoundError:
        return {}
    except NOT_JSON as error:
        raise UsageError(
            f"{path} is damaged, and says which names were given to which content ({error}): put it back from a backup, "
            "or link under another --name"
        ) from None


def link_checkpoints(run: Path, loras: Path, checkpoints: Sequence[Checkpoint], options: LinkOptions) -> Linked:
    """Link checkpoints into ``loras / name``, zero-padded, so that ComfyUI lists them in order.

    A copy stands where names or alpha have to be mended, or where links cannot be made.

    Raises
    ------
    UsageError
        The folder lies in the run, or is not the kind that these checkpoints belong into; or an option cannot be used.
    """
    folder = loras / options.name
    if loras.resolve().is_relative_to(run.resolve()) and run.is_dir():
        raise UsageError(f"{loras} lies in {run}: name ComfyUI's folder, such as ComfyUI/models/loras")
    if folder.resolve().is_relative_to(run.resolve()) and run.is_dir():
        raise UsageError(f"{folder} is the run itself, in which nothing is changed: say another --name")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: say another --name")
    if options.alpha is not None and not 0 < options.alpha <= ALPHA_AT_MOST:
        raise UsageError(f"alpha {options.alpha:g} cannot be: it is above 0, as a rule up to twice the rank")
    full = [checkpoint for checkpoint in checkpoints if checkpoint.kind == "full" and not checkpoint.problem]
    if full and loras.name == "loras" and all(checkpoint.kind == "full" for checkpoint in checkpoints):
        raise UsageError(f"{full[0].place.path} is a whole model: link it into models/diffusion_models, not into {loras}")
    if not loras.is_dir():
        raise UsageError(f"{loras} is no folder: name ComfyUI's folder, such as ComfyUI/models/loras")
    if options.dry_run:
        return _Links(folder, options).run(checkpoints)
    folder.mkdir(exist_ok=True)
    with one_at_a_time(folder):
        return _Links(folder, options).run(checkpoints)


class _Links:
    """A folder of links while it is brought up to date."""

    def __init__(self, folder: Path, options: LinkOptions) -> None:
        self.folder, self.options = folder, options
        self.names = read_names(folder)
        self.linked = Linked(folder)

    def run(self, checkpoints: Sequence[Checkpoint]) -> Linked:
        """Retire what shows other content by now, link what is wanted, prune."""
        self._retire()
        several = len({checkpoint.place.series for checkpoint in checkpoints}) > 1
        for checkpoint in checkpoints:
            stem = (several and checkpoint.place.series) or self.options.name
            try:
                self._link(f"{stem}-{checkpoint.place.label}", checkpoint)
            except (WeightsFileError, UsageError, SampleError, OSError) as error:
                self.linked.refused.append((checkpoint.place.label, str(error)))
        self._prune()
        self._note()
        return self.linked

    def _note(self) -> None:
        """Keep what each name stands for. A name is noted before it is given, so that a run that is killed leaves none unknown."""
        if not self.options.dry_run:
            write_atomically(self.folder / LINKS, msgspec.json.format(msgspec.json.encode(self.names)) + b"\n")

    def _link(self, stem: str, checkpoint: Checkpoint) -> None:
        """Link one checkpoint under the name that its content has, or under the first that no other content ever had."""
        header = checkpoint.header
        if checkpoint.problem or header is None:
            self.linked.refused.append((checkpoint.place.label, checkpoint.problem))
            return
        if checkpoint.kind == "full" and self.folder.parent.name == "loras":
            self.linked.refused.append((checkpoint.place.label, f"{header.path} is no LoRA"))
            return
        mended = None if self.options.as_is else mending(checkpoint, self.options.alpha)
        reading = checkpoint.reading
        if reading and not self.options.as_is and (mended.known if mended else reading.known) < reading.keys:
            self.linked.refused.append(
                (checkpoint.place.label, f"ComfyUI reads {checkpoint.verdict} (--as-is links it all the same)")
            )
            return
        given = self._given(header.path.resolve(), mended)
        file = self._free(stem, given.content)
        path = self.folder / file
        if file in self.names and os.path.lexists(path) and not self._leads_nowhere(file):
            self.linked.kept.append(file)
            return
        how = {"link": "link", "copy": "copy", "mended": f"mended copy: {mended.describe() if mended else ''}"}[given.kind]
        self.names[file] = given
        self._note()
        if not self.options.dry_run:
            kind = self._make(path, given, header, mended)
            how = "copy: this disk takes no links" if kind != given.kind else how
            given.kind = kind
        self.linked.made.append((file, how))

    def _leads_nowhere(self, file: str) -> bool:
        """Tell whether a name is a link of this command's own whose checkpoint was moved."""
        path = self.folder / file
        return not path.exists() and self._is_ours(path, self.names[file])

    def _given(self, source: Path, mended: Mending | None) -> Name:
        """Return what a name for a checkpoint would stand for."""
        status = source.stat()
        known = (
            name.sha256
            for name in self.names.values()
            if (name.source, name.size, name.changed) == (str(source), status.st_size, status.st_mtime_ns)
        )
        sha256 = next(known, None) or hash_file(source)
        content = sha256 if mended is None else hashlib.sha256(sha256.encode() + mended.beginning).hexdigest()
        kind: Literal["link", "copy", "mended"] = "mended" if mended else "copy" if self.options.copy else "link"
        return Name(sha256, content, str(source), status.st_size, status.st_mtime_ns, kind)

    def _free(self, stem: str, content: str) -> str:
        for number in count(1):
            file = f"{stem}{f'-{number}' if number > 1 else ''}{SUFFIX}"
            name = self.names.get(file)
            if name is not None and name.content == content and not name.gone:
                return file
            if name is None and not os.path.lexists(self.folder / file):
                return file
        raise AssertionError  # numbers do not end

    def _make(self, path: Path, given: Name, header: Header, mended: Mending | None) -> Literal["link", "copy", "mended"]:
        """Make a file, and return what it is: a copy where links cannot be made."""
        if mended is not None:
            check_room(path, len(mended.beginning) + header.size)
            write_mended(header, mended, path)
            return "mended"
        temporary = str(path.parent / f".datakit-{path.name}")
        if given.kind == "link":
            try:
                put(given.source, str(path), "symlink", temporary)
                return "link"
            except SampleError:
                pass
        check_room(path, given.size)
        put(given.source, str(path), "copy", temporary)
        return "copy"

    def _retire(self) -> None:
        """Delete links whose checkpoint was written over: under their names ComfyUI would give the old picture, or the new one."""
        for file, name in self.names.items():
            source = Path(name.source)
            if name.gone or name.kind != "link" or not source.exists():
                continue
            status = source.stat()
            if (status.st_size, status.st_mtime_ns) == (name.size, name.changed):
                continue
            if hash_file(source) == name.sha256:
                name.size, name.changed = status.st_size, status.st_mtime_ns
                continue
            name.gone = True
            self.linked.notes.append(f"{file} stands for what {source} held before: the name is not used again")
            self._delete(file, name)

    def _prune(self) -> None:
        """Delete links whose checkpoint is gone; say so of copies, which are all that is left of it."""
        for file, name in self.names.items():
            if name.gone or Path(name.source).exists():
                continue
            if name.kind != "link":
                if os.path.lexists(self.folder / file):
                    self.linked.notes.append(f"{file} is all that is left of {name.source}: it stays")
            elif not self._is_ours(self.folder / file, name):
                continue  # somebody deleted it, or put something of their own there
            elif self.options.prune:
                name.gone = True
                self._delete(file, name)
                self.linked.pruned.append(file)
            else:
                self.linked.notes.append(f"{file}: its checkpoint is gone, and ComfyUI lists it still; --prune deletes it")

    def _delete(self, file: str, name: Name) -> None:
        """Delete a link, if it is still the one that was made."""
        path = self.folder / file
        if not self.options.dry_run and self._is_ours(path, name):
            path.unlink()

    def _is_ours(self, path: Path, name: Name) -> bool:
        return path.is_symlink() and os.readlink(path) == name.source
