"""Start datakit: an interrupt ends it without a traceback at any moment, also while modules load and while Python ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

_AGAIN = 0.02  # seconds until an interrupt that came during an import is tried again


def run() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # the shell has interrupts ignored
        from datakit.cli import main

        main()
        return
    # Nothing has begun yet: an interrupt ends the process at once, as it does a program without handlers.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from datakit.cli import main

    sys.unraisablehook = _end_where_interrupted
    try:
        signal.signal(signal.SIGINT, _interrupt)
        main()
    finally:
        # All is done or said: what is left is Python's own end, which an interrupt would fill with tracebacks.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt what runs, but not in the middle of an import: NumPy's C code would print the traceback and go on without."""
    at = frame
    while at is not None:
        if at.f_code.co_filename.startswith("<frozen importlib"):
            threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()
            return
        at = at.f_back
    signal.default_int_handler(number, frame)


def _end_where_interrupted(unraisable: sys.UnraisableHookArgs) -> None:
    """End at once where Python would swallow an interrupt, because it came while an object was being tidied away."""
    if unraisable.exc_type is KeyboardInterrupt:
        from datakit.cli import INTERRUPTED

        os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(128 + signal.SIGINT)
    if unraisable.exc_type is SystemExit:
        os._exit(128 + signal.SIGTERM)
    # Once all is said, an object that an interrupt left half made (a bar of tqdm) has nothing to complain about.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    run()
