"""Open mutated SAE files of every published format and count what happened: ``python benchmarks/hostile_files.py [count] [seed]``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import mutations


def main() -> None:
    """Run 10,000 mutations unless told otherwise; exit with 1 if any of them did more than raise an error of ours."""
    count, seed = [int(text) for text in sys.argv[1:3]] + [10_000, 0][len(sys.argv) - 1 :]
    outcome = mutations.run(count, seed)
    print("\n".join(mutations.lines(outcome)))
    sys.exit(bool(outcome.bad))


if __name__ == "__main__":
    main()
