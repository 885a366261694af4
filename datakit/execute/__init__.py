"""Run one picklable function over many items, in this process or in several."""

from datakit.execute.local import Crash, processes, serial

EXECUTORS = {"serial": serial, "processes": processes}

__all__ = ["EXECUTORS", "Crash", "processes", "serial"]
