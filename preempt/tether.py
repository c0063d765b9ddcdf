"""Run a command that ends when the process which started it ends, however that ends.

Called as a script, `tether.py PARENT SIGNAL COMMAND…`, so that nothing of ours runs between fork
and exec: a Python `preexec_fn` can deadlock in a process that has threads. The command replaces
this script and keeps its process id.

On Linux the kernel sends SIGNAL when the parent is gone. macOS has no such promise: there a
parent that is killed (SIGKILL) leaves its children running, and the lock on their folder says so.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(parent: int, death_signal: int, command: list[str]) -> None:
    """Ask the kernel to tie us to `parent`, then become `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel knew
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
