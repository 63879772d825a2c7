"""How long the rest of a run takes."""

import sys
import time


class Clock:
    """Counts steps of a run and guesses from their time when it ends."""

    def __init__(self):
        self.started, self.done = time.monotonic(), 0

    def left(self, steps: int) -> str:
        """The time for so many more steps, if they take what those before took: hours, minutes, seconds."""
        seconds = round((time.monotonic() - self.started) / max(1, self.done) * steps)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def show(text: str) -> None:
    """A line on a terminal that the next one replaces; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
