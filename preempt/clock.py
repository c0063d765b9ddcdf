"""The clock of this machine; whatever reads the time is given it."""

import time


def wall_clock() -> int:
    """Now, in UTC milliseconds."""
    return time.time_ns() // 1_000_000
