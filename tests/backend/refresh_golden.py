"""Write the golden files anew: ``python -m tests.backend.refresh_golden``; look at the difference before committing."""

from tests.backend.golden_cases import CASES, GOLDEN

if __name__ == "__main__":
    for old in GOLDEN.iterdir():
        old.unlink()
    for name, write in CASES.items():
        (GOLDEN / name).write_bytes(write())
