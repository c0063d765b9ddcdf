"""A clock that a test sets."""

NOW = 1_700_000_000_000  # UTC ms


class Clock:
    """Stands still until it is set."""

    now = NOW

    def __call__(self) -> int:
        return self.now
