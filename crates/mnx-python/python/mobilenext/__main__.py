"""The command line: ``python -m mobilenext classify cat.jpg``. It is the program ``mnx-infer``."""

import sys
from typing import List, Optional

from mobilenext._native import command_line


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the command that ``arguments`` name, those of the process if they are ``None``, and returns the exit code.

    Signals do during the call what they do to the program: Ctrl-C ends the process.
    """
    # Python leaves what is closed at its start to whatever file is opened next.
    if sys.stdout is None:
        if sys.stderr is not None:
            sys.stderr.write("error: standard output: expected one, found it closed\n")
        return 1
    # What the interpreter has not written yet comes first.
    sys.stdout.flush()
    return command_line(["mnx-infer", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
