"""Run SimpleTuner's own sample preparation; started by test_simpletuner_wheel.py in SimpleTuner's environment.

Reads JSON from stdin and writes JSON to stdout. Imports nothing of datakit. Modules that SimpleTuner imports and
that are not installed are replaced by empty ones: preparing a picture needs none of them.
"""

import importlib.machinery
import importlib.util
import json
import logging
import os
import sys
import tempfile
import types


class Nothing:
    """Stands in for any class or function of an absent library."""

    def __init__(self, *arguments, **options):
        pass

    def __call__(self, *arguments, **options):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()

    def __mro_entries__(self, bases):
        return (object,)


class EmptyModule(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Nothing,), {})


class Absent:
    """Finds every module of a top-level package that is not installed, but for those that libraries probe for."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self.names else None

    def __init__(self, names):
        self.names = {name for name in names if importlib.util.find_spec(name) is None}

    def create_module(self, spec):
        return EmptyModule(spec.name)

    def exec_module(self, module):
        pass


def parse(config):
    """Return what SimpleTuner's own parser makes of a config.json, or the error that it ends with."""
    # Its fields lie inside the package of its web server, which is neither wanted nor there.
    server = "simpletuner.simpletuner_sdk.server"
    if server not in sys.modules:
        sys.modules[server] = types.ModuleType(server)
        sys.modules[server].__path__ = [os.path.join(sys.path[0], *server.split("."))]
    from simpletuner.helpers.configuration.cli_utils import mapping_to_cli_args
    from simpletuner.helpers.configuration.cmd_args import get_argument_parser

    try:
        parsed = vars(get_argument_parser().parse_args(mapping_to_cli_args(config)))
    except (Exception, SystemExit) as error:
        return {"error": str(error)}
    return {name: value for name, value in parsed.items() if isinstance(value, str | int | float | bool)}


def main():
    job = json.load(sys.stdin)
    answers, sys.stdout = sys.stdout, sys.stderr
    import accelerate  # noqa: F401  they look for optional libraries, so before any is faked
    import diffusers  # noqa: F401
    import transformers  # noqa: F401

    sys.meta_path.append(Absent(job["absent"]))
    sys.path.insert(0, job["source"])
    work = tempfile.mkdtemp()
    os.chdir(work)
    os.environ["SIMPLETUNER_LOG_LEVEL"] = os.environ["SIMPLETUNER_IMAGE_PREP_LOG_LEVEL"] = "CRITICAL"
    from simpletuner.helpers.image_manipulation.training_sample import TrainingSample
    from simpletuner.helpers.training.state_tracker import StateTracker

    logging.disable(logging.CRITICAL)
    StateTracker.set_args(types.SimpleNamespace(aspect_bucket_alignment=64, aspect_bucket_rounding=2, output_dir=work))
    import numpy as np
    from PIL import Image

    class Watched(TrainingSample):
        """Notes the size after the last resize."""

        resized = None

        def resize(self, size=None):
            result = super().resize(size)
            self.resized = list(self.intermediary_size if size is None else self.current_size)
            return result

    def prepare(entry, image):
        StateTracker.set_data_backend_config("x", entry)
        StateTracker.aspect_resolution_map = {}
        sample = Watched(image=image, data_backend_id="x", image_metadata={"original_size": image.size})
        return sample, sample.prepare()

    fates = []
    for case in job["sizes"]:
        size = case["size"]
        sample, prepared = prepare(case["entry"], Image.new("RGB", size))
        fates.append(
            {"resized": sample.resized or size, "cropped": list(prepared.target_size), "bucket": str(prepared.aspect_ratio)}
        )
    same = {}
    for case in job["pictures"]:
        with Image.open(case["path"]) as image:
            before = np.asarray(image.convert("RGB"))
            _, prepared = prepare(case["entry"], image.copy())
        same[case["path"]] = before.shape == np.asarray(prepared.image).shape and bool(
            (before == np.asarray(prepared.image)).all()
        )
    json.dump({"fates": fates, "same": same, "parsed": [parse(config) for config in job["configs"]]}, answers)


if __name__ == "__main__":
    main()
