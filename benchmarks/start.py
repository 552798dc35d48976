"""Starting: processor seconds from the shell's prompt to the answer, of commands that a person waits for.

    python benchmarks/start.py [runs]

Each command runs so many times (3), and the least of its user and system time counts: what else the machine does adds to it and never
takes away. `import torch` stands beside them, the part that no command which computes can do without.
"""

import os
import resource
import subprocess
import sys

COMMANDS = {
    "import torch": [sys.executable, "-c", "import torch"],
    "analyze": ["hooke", "analyze", "Rates held at 4.5% as inflation eases"],
    "analyze, unknown --sae": ["hooke", "analyze", "Rates held", "--sae", "gemma-3-270m/resid_post.12/nothing"],
    "saes": ["hooke", "saes"],
    "inspect": ["hooke", "inspect", "gemma-3-270m/resid_post.12/8k"],
    "feature": ["hooke", "feature", "gemma-3-270m/resid_post.12/8k/54"],
    "search": ["hooke", "search", "bank"],
}


def seconds(command: list[str]) -> float:
    """User and system time of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, env=os.environ | {"COLUMNS": "120"}, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print one table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"{'command':<24}{'processor s':>12}")
    for name, command in COMMANDS.items():
        print(f"{name:<24}{min(seconds(command) for _ in range(runs)):>12.2f}", flush=True)


if __name__ == "__main__":
    main()
