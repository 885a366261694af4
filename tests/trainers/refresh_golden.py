"""Write the golden files anew: ``python -m tests.trainers.refresh_golden``; look at the difference before committing."""

from tests.trainers.golden_cases import CASES, GOLDEN

if __name__ == "__main__":
    for old in GOLDEN.iterdir():
        old.unlink()
    for name, write in CASES.items():
        (GOLDEN / name).write_bytes(write())
