"""Run datakit as ``python -m datakit``."""

from datakit.cli import main

if __name__ == "__main__":
    main()
