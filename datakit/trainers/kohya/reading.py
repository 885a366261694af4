"""What sd-scripts lists of a folder (``library/train_util.py``: glob_images); caches lie beside pictures, named like them."""

from __future__ import annotations

from datakit.trainers.flat import FlatListing

# .avif and .jxl only with plug-ins of its environment.
LISTING = FlatListing((".png", ".jpg", ".jpeg", ".webp", ".bmp"))
