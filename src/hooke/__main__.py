"""``python -m hooke``, and ``torchrun -m hooke``: the command line."""

from hooke.cli import main

if __name__ == "__main__":
    main()
