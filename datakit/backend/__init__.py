"""Stage 3: write and prove a trainer's dataset config; one file a trainer."""

from datakit.backend import simpletuner

# Trainer by name: the function that turns concepts into its dataset entries, and the one that writes them.
BACKENDS = {"simpletuner": (simpletuner.emit, simpletuner.to_json)}

__all__ = ["BACKENDS"]
