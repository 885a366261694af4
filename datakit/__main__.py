"""Start datakit: an interrupt ends it without a traceback at any moment, also while modules load and while Python ends."""

from __future__ import annotations

import os
import signal
import sys


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
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
    finally:
        # All is done or said: what is left is Python's own end, which an interrupt would fill with tracebacks.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_where_interrupted(unraisable: sys.UnraisableHookArgs) -> None:
    """End at once where Python would swallow an interrupt, because it came while an object was being tidied away."""
    if unraisable.exc_type is KeyboardInterrupt:
        from datakit.cli import INTERRUPTED

        os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(128 + signal.SIGINT)
    if unraisable.exc_type is SystemExit:
        os._exit(128 + signal.SIGTERM)
    sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    run()
