"""What operating systems, network drives and clouds leave in folders: it is the user's, but no picture to train."""

from __future__ import annotations

import re

# In any case. Synology, QNAP, Windows, macOS, Linux desktops, Jupyter.
_FOLDERS = frozenset(
    {
        "@eadir", "#recycle", "#snapshot", "@tmp", "@recycle", "@recently-snapshot", ".@__thumb", ".@upload_cache", ".streams",
        "$recycle.bin", "recycler", "recycled", "system volume information", "found.000",
        "~snapshot", "network trash folder", "temporary items",
        "__macosx", ".trashes", ".spotlight-v100", ".fseventsd", ".temporaryitems", ".documentrevisions-v100", ".appledouble",
        "lost+found", ".trash", ".thumbnails", ".thumbs", ".ipynb_checkpoints", ".picasaoriginals",
    }
)  # fmt: skip
_FILES = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", ".ds_store", "icon\r", ".directory", ".picasa.ini"}
)
# What macOS calls a file in iCloud that is not on this machine.
_ICLOUD = re.compile(r"\.(.+)\.icloud", re.DOTALL)


def is_system_folder(name: str) -> bool:
    """Tell whether a folder belongs to a system: thumbnails, bins, snapshots."""
    lowered = name.lower()
    return lowered in _FOLDERS or lowered.startswith(".trash-")


def is_system_file(name: str) -> bool:
    """Tell whether a file belongs to a system: its database of thumbnails, its notes on another file."""
    return name.lower() in _FILES or name.startswith("._")


def not_downloaded(name: str) -> str | None:
    """Return the name of the file that a placeholder of iCloud stands for; None where it is none."""
    match = _ICLOUD.fullmatch(name)
    return match[1] if match else None
