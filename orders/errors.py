"""The errors that a person is meant to read."""


class UserError(Exception):
    """Something the user can put right.

    The message is one line: what is wrong, and what to do about it. The command line prints it
    without a traceback and exits with 1.
    """


class UsageError(UserError):
    """An option or argument whose value is wrong in itself: the command line exits with 2."""
