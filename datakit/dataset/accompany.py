"""Which picture goes with which: patterns that a person gives, or that follow from known layouts, and the samples that they pair."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from datakit.dataset.companions import COMPANION_NAME, layout_of
from datakit.dataset.samples import PICTURE_EXTENSIONS, Found, Sample, fold
from datakit.errors import UsageError
from datakit.report import counted, few

_STEM = "{stem}"
_ANY = ".*"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Where companions of one name lie.

    Attributes
    ----------
    name
        What they are called, such as ``mask``.
    folder
        Folders between the picture's, or one above it, and the companion; empty where they lie beside each other.
    before, after
        What stands around the picture's stem in the file's name.
    extension
        Of the file, in lower case with its dot; empty for that of any picture.
    """

    name: str
    folder: str
    before: str
    after: str
    extension: str

    def fits(self, identity: str) -> bool:
        """Tell whether a picture lies and is called as these companions are, whatever it goes with."""
        inside, _, file = identity.rpartition("/")
        stem, extension = os.path.splitext(file)
        within = not self.folder or f"/{fold(self.folder)}/" in f"/{fold(inside)}/"
        named = len(stem) > len(self.before) + len(self.after) and fold(stem).startswith(fold(self.before))
        return within and named and fold(stem).endswith(fold(self.after)) and self.extension in ("", extension.lower())

    def candidates(self, identity: str) -> Iterator[tuple[str, str]]:
        """Yield the stems that the companion of a picture may have, the nearest first, each with the stem of the picture that it
        goes with before all others.

        Beside the picture; or in the folder of companions inside the picture's folder or one above it, or beside one of these.
        """
        *parts, stem = os.path.splitext(identity)[0].split("/")
        file, whole = f"{self.before}{stem}{self.after}", "/".join((*parts, stem))
        if not self.folder:
            yield "/".join((*parts, file)), whole
            return
        for depth in range(len(parts), -1, -1):
            above, below = parts[:depth], parts[depth:]
            yield "/".join((*above, self.folder, *below, file)), whole
            if below:
                yield "/".join((*above, self.folder, *below[1:], file)), "/".join((*above, *below[1:], stem))


def parse_companion(text: str) -> Pattern:
    """Read ``NAME=PATTERN``, such as ``mask={stem}-masklabel.png`` or ``control=control/{stem}.*``.

    Raises
    ------
    UsageError
        It is none.
    """
    name, sign, pattern = text.partition("=")
    shown = f"--companion {text}"
    if not sign or not COMPANION_NAME.fullmatch(name):
        raise UsageError(
            f"{shown}: write NAME=PATTERN, such as mask={_STEM}-masklabel.png; a NAME is lower-case letters and digits"
        )
    folder, _, file = pattern.replace("\\", "/").removeprefix("./").rpartition("/")
    if file.count(_STEM) != 1 or _STEM in folder:
        raise UsageError(f"{shown}: {_STEM} stands once in the file's name, for that of the picture: control/{_STEM}.*")
    if pattern.startswith("/") or set(folder.split("/")) & {".", ".."} or "//" in pattern:
        raise UsageError(f"{shown}: companions lie in the source folder: name a folder in it, such as control/{_STEM}.*")
    before, after = file.split(_STEM)
    after, extension = (after.removesuffix(_ANY), "") if after.endswith(_ANY) else os.path.splitext(after)
    if not extension and not file.endswith(_ANY):
        # A lone ".png" behind the stem is taken by splitext for a hidden file's name.
        after, extension = ("", after) if after.startswith(".") and after.count(".") == 1 else (after, "")
    if extension and extension.lower() not in PICTURE_EXTENSIONS:
        raise UsageError(f"{shown}: {extension} is no picture that can be read: end it with .png, or {_ANY} for any of them")
    if not extension and not file.endswith(_ANY):
        raise UsageError(f"{shown}: end it with the extension, such as .png, or {_ANY} for any")
    if not (folder or before or after):
        raise UsageError(f"{shown}: that is the picture itself: name a folder, or what its file's name ends with")
    return Pattern(name, folder, before, after, extension.lower())


def known_layouts(companions: Iterable[str]) -> list[Pattern]:
    """Return the patterns of companions that were recognised by trainers' layouts, by their ids."""
    found: dict[Pattern, None] = {}
    for identity in companions:
        name, folder, ending = layout_of(identity)
        # In a folder of companions an ending may be the picture's own.
        found |= {Pattern(name, folder, "", after, ""): None for after in ((ending, "") if folder else (ending,))}
    return sorted(found, key=lambda pattern: (pattern.name, pattern.folder, pattern.after))


@dataclass(frozen=True, slots=True)
class Accompanied:
    """The samples of a source with their companions.

    Attributes
    ----------
    samples
        In the order of their ids, without those that are companions themselves.
    missing
        Ids of samples without a companion of each name, by that name.
    left
        Ids of companions that were asked for and go with no picture.
    second
        Ids of companions whose picture has another one of the same name, which is taken.
    shared
        Ids of companions that go with several pictures.
    unused
        Ids of companions that nobody asked for.
    orphans
        Ids of what nobody asked for either, and has lost its picture; see `orphans_of`.
    """

    samples: tuple[Sample, ...]
    missing: Mapping[str, Sequence[str]]
    left: Sequence[str]
    second: Sequence[str]
    shared: Sequence[str]
    unused: Sequence[str]
    orphans: Sequence[str] = ()

    def notes(self) -> list[str]:
        """Say what has no companion, and which companions are used for nothing."""
        said = []
        for name, ids in self.missing.items():
            if ids:
                said.append(
                    f"{counted(len(ids), 'picture')} without a companion {name} (--companions required refuses them): {few(ids)}"
                )
        if self.left:
            said.append(f"{counted(len(self.left), 'companion')} without a picture of that name: {few(self.left)}")
        if self.second:
            rule = "as the same picture has another of that name; --companion NAME=PATTERN gives them a name of their own"
            said.append(f"{counted(len(self.second), 'companion')} left out, {rule}: {few(self.second)}")
        if self.shared:
            said.append(f"{counted(len(self.shared), 'companion')} taken for several pictures each: {few(self.shared)}")
        if self.orphans:
            rule = "to crop them as pictures, name their folder as SRC, or give it another name"
            number = counted(len(self.orphans), "mask or other companion", "masks or other companions")
            said.append(f"{number} left out, without a picture of that name: {few(self.orphans)}; {rule}")
        return said + unused_companions(self.unused)


def unused_companions(ids: Sequence[str]) -> list[str]:
    """Say which companions are left out, as a sentence; nothing where there are none."""
    if not ids:
        return []
    number = counted(len(ids), "mask or other companion", "masks or other companions")
    rule = "--companions auto takes them along, and what has a caption of its own, or another name, is a picture"
    return [f"{number} of pictures left out: {few(ids)}; {rule}"]


def accompany(found: Found, patterns: Sequence[Pattern], auto: bool) -> Accompanied:
    """Pair the samples of a source with their companions.

    What is called as a pattern says is a companion and no sample, whether it goes with a picture or not.

    Parameters
    ----------
    found
        What the source holds.
    patterns
        As a person gave them.
    auto
        Whether the companions that trainers' layouts tell are taken too.
    """
    known = set(found.companions) if auto else set()
    every, told = _patterns_of(found, patterns, known)
    orphans = orphans_of(found) - told
    if not every:
        kept = tuple(sample for sample in found.samples if sample.id not in orphans)
        unused = sorted(set(found.companions) - known)
        return Accompanied(kept, {}, left=(), second=(), shared=(), unused=unused, orphans=sorted(orphans))
    index: dict[str, list[str]] = defaultdict(list)
    for identity in sorted(told | known):
        index[fold(os.path.splitext(identity)[0])].append(identity)
    pictures = [sample for sample in found.samples if sample.id not in told | orphans]
    stems = {fold(os.path.splitext(sample.id)[0]) for sample in pictures}
    fitting: set[str] = set()
    samples = []
    for sample in pictures:
        paired = [(each.name, companion) for each in every for companion in _companions(sample.id, each, index, stems)]
        fitting |= {companion for _, companion in paired}
        # Of each name the first.
        samples.append(replace(sample, companions=tuple(sorted(dict(reversed(paired)).items()))) if paired else sample)
    uses = Counter(companion for sample in samples for companion in {each for _, each in sample.companions})
    named = {sample.id: {name for name, _ in sample.companions} for sample in samples}
    return Accompanied(
        tuple(samples),
        {each.name: [identity for identity, names in named.items() if each.name not in names] for each in every},
        left=sorted((told | known) - fitting),
        second=sorted(fitting - uses.keys()),
        shared=sorted(companion for companion, number in uses.items() if number > 1),
        unused=sorted(set(found.companions) - told - known),
        orphans=sorted(orphans),
    )


def orphans_of(found: Found) -> set[str]:
    """Return the ids of samples that lie and are called as companions, have no caption, and go with no picture.

    Beside companions that do go with one; in a folder of masks also where there are pictures elsewhere. Other folders of such a
    name may hold pictures to train.
    """
    layouts = known_layouts(found.companions)
    silent = [each.id for each in found.samples if each.caption_id is None]
    masks = {each for each in silent if layout_of(each)[1:2] != ("",) and layout_of(each)[0] == "mask"}
    if len(masks) == len(found.samples):
        return set()
    return masks | {each for each in silent if any(layout.fits(each) for layout in layouts)}


def _patterns_of(found: Found, given: Sequence[Pattern], known: AbstractSet[str]) -> tuple[list[Pattern], set[str]]:
    """Return all patterns, those of known layouts last, and the ids of what is a companion by one of them."""
    told = {each.id for each in found.samples if any(pattern.fits(each.id) for pattern in given)}
    told |= {each for each in found.companions if any(pattern.fits(each) for pattern in given)}
    layouts = known_layouts(sorted(known - told))
    # What lies and is called as they are, without a caption, is one that has lost its picture.
    told |= {each.id for each in found.samples if each.caption_id is None and any(layout.fits(each.id) for layout in layouts)}
    return [*given, *layouts], told


def _companions(identity: str, pattern: Pattern, index: Mapping[str, Sequence[str]], stems: AbstractSet[str]) -> Iterator[str]:
    """Yield what lies where the companion of a picture may be, the nearest first, and goes with no other before it."""
    own = fold(os.path.splitext(identity)[0])
    for candidate, owner in pattern.candidates(identity):
        if fold(owner) != own and fold(owner) in stems:
            continue
        for companion in index.get(fold(candidate), ()):
            if companion != identity and pattern.extension in ("", os.path.splitext(companion)[1].lower()):
                yield companion
