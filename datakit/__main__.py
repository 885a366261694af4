"""Start datakit: an interrupt ends it without a traceback, also while modules load and while Python ends."""

from __future__ import annotations

import signal


def run() -> None:
    """Run the command line."""
    # Nothing has begun yet: an interrupt ends the process at once, as it does a program without handlers.
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where the shell has it ignored
    if handled:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from datakit.cli import main

    try:
        if handled:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
    finally:
        if handled:
            # All is done or said: what is left is Python's own end, which an interrupt would fill with tracebacks.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    run()
