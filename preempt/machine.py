"""What machine figures were measured on."""

import os
import platform


def machine() -> str:
    """This machine in one line."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
