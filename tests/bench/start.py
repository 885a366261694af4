"""What `datakit --help` takes to start beyond an empty Python: python -m tests.bench.start --rounds 15."""

from __future__ import annotations

import argparse
import sys

from tests.bench.measure import median, run, table

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "datakit --help": [sys.executable, "-m", "datakit", "--help"],
    "datakit crop --help": [sys.executable, "-m", "datakit", "crop", "--help"],
}


def main() -> None:
    """Run the commands in turn and print medians and what each takes beyond the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = [{name: run([command]) for name, command in COMMANDS.items()} for _ in range(parser.parse_args().rounds)]
    first = next(iter(COMMANDS))
    rows = [
        (
            name,
            f"{1000 * median([each[name].cpu for each in rounds]):.0f}",
            f"{1000 * median([each[name].wall for each in rounds]):.0f}",
            f"{1000 * median([each[name].cpu - each[first].cpu for each in rounds]):+.0f}",
            f"{1000 * median([each[name].wall - each[first].wall for each in rounds]):+.0f}",
        )
        for name in COMMANDS
    ]
    print(table(("", "ms CPU", "ms wall", "more CPU", "more wall"), rows))


if __name__ == "__main__":
    main()
