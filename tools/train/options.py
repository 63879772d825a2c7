"""What the training programs' options have in common, and how a program ends when something is wrong."""

import argparse
import math
import sys


class Bad(Exception):
    """What is wrong with the input, in one line."""


def positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return value


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected 0 or more and less than 1, found {text}")
    return value


def whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {text}")
    return value


def run(program: str, main) -> None:
    """Runs `main`. What is wrong ends the program with one line, and so does Ctrl-C."""
    try:
        main()
    except Bad as bad:
        sys.exit(f"{program}: {bad}")
    except KeyboardInterrupt:
        sys.exit(f"{program}: interrupted; --resume goes on after the last whole epoch, if there is one")


def check_resumed(path, before: dict, now: dict, fixed) -> None:
    """Refuses to resume with other values of `fixed`, and says which other options changed."""
    for name, value in now.items():
        if before.get(name) == value:
            continue
        if name in fixed:
            raise Bad(f"{path}: {name} is {before.get(name)} there and {value} now: --resume goes on with the same network and data")
        print(f"resume: {name} was {before.get(name)}, is {value} from here on", flush=True)
