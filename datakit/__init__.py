"""Turn a folder of pictures with captions into a dataset that a trainer takes as it is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from datakit.crop.folder import crop_folder as crop_folder
    from datakit.crop.folder import plan_crop as plan_crop
    from datakit.crop.folder import plan_folder as plan_folder
    from datakit.crop.options import CropOptions as CropOptions
    from datakit.dataset.manifest import CropPlan as CropPlan
    from datakit.dataset.manifest import Record as Record
    from datakit.dataset.manifest import read_manifest as read_manifest
    from datakit.errors import DatakitError as DatakitError
    from datakit.geometry import Box as Box
    from datakit.geometry import Size as Size
    from datakit.report import Report as Report
    from datakit.run.stage import Execution as Execution
    from datakit.shuffle.folder import plan_shuffle as plan_shuffle
    from datakit.shuffle.folder import shuffle_folder as shuffle_folder
    from datakit.shuffle.variants import ShuffleOptions as ShuffleOptions
    from datakit.shuffle.variants import Variant as Variant
    from datakit.sizes import SIZE_SETS as SIZE_SETS
    from datakit.trainers.backend import AuditOptions as AuditOptions
    from datakit.trainers.backend import audit_datasets as audit_datasets
    from datakit.trainers.backend import emit_backend as emit_backend
    from datakit.trainers.backend import verify_backend as verify_backend
    from datakit.trainers.protocol import BackendOptions as BackendOptions
    from datakit.trainers.training import Batching as Batching

# Imported when first used, so that `import datakit` and `datakit --help` load no picture library.
_HOMES = {
    "AuditOptions": "trainers.backend",
    "SIZE_SETS": "sizes",
    "BackendOptions": "trainers.protocol",
    "Batching": "trainers.training",
    "Box": "geometry",
    "CropOptions": "crop.options",
    "CropPlan": "dataset.manifest",
    "DatakitError": "errors",
    "Execution": "run.stage",
    "Record": "dataset.manifest",
    "Report": "report",
    "ShuffleOptions": "shuffle.variants",
    "Size": "geometry",
    "Variant": "shuffle.variants",
    "audit_datasets": "trainers.backend",
    "crop_folder": "crop.folder",
    "emit_backend": "trainers.backend",
    "plan_crop": "crop.folder",
    "plan_folder": "crop.folder",
    "plan_shuffle": "shuffle.folder",
    "read_manifest": "dataset.manifest",
    "shuffle_folder": "shuffle.folder",
    "verify_backend": "trainers.backend",
}
__all__ = [
    "SIZE_SETS",
    "AuditOptions",
    "BackendOptions",
    "Batching",
    "Box",
    "CropOptions",
    "CropPlan",
    "DatakitError",
    "Execution",
    "Record",
    "Report",
    "ShuffleOptions",
    "Size",
    "Variant",
    "__version__",
    "audit_datasets",
    "crop_folder",
    "emit_backend",
    "plan_crop",
    "plan_folder",
    "plan_shuffle",
    "read_manifest",
    "shuffle_folder",
    "verify_backend",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'datakit' has no attribute {name!r}")
    return getattr(import_module(f"datakit.{_HOMES[name]}"), name)
