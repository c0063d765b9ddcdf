import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orders.errors import UserError
from preempt.processes import ChildProcess, FolderLock, free_port

# Ignores SIGTERM, has a child of its own, and says so once both are there.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie has ended, its new parent has not looked yet


def first_line(log: Path) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if log.exists() and "\n" in log.read_text():
            return log.read_text().splitlines()[0]
        time.sleep(0.01)
    raise AssertionError(f"nothing in {log}")


def test_the_exit_code_and_the_output_of_a_child_are_known(tmp_path: Path):
    code = "import sys; print('to stdout'); print('to stderr', file=sys.stderr); sys.exit(3)"
    child = ChildProcess([sys.executable, "-c", code], log=tmp_path / "log").start()
    assert child.wait(10) == 3
    assert not child.running
    assert sorted(child.log_tail().split(" | ")) == ["to stderr", "to stdout"]


def test_the_tail_of_the_log_is_of_this_run_and_the_log_of_all(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("an earlier run\n")
    child = ChildProcess([sys.executable, "-c", "print('this run')"], log=log).start()
    child.wait(10)
    assert child.log_tail() == "this run"
    assert log.read_text() == "an earlier run\nthis run\n"


def test_a_child_gets_its_environment_on_top_of_ours(tmp_path: Path):
    code = "import os; print(os.environ['ONE_MORE'], 'PATH' in os.environ)"
    child = ChildProcess(
        [sys.executable, "-c", code], log=tmp_path / "log", environment={"ONE_MORE": "yes"}
    ).start()
    child.wait(10)
    assert child.log_tail() == "yes True"


def test_a_program_that_is_not_there_is_an_exit_code_and_a_line_in_the_log(tmp_path: Path):
    child = ChildProcess([tmp_path / "absent"], log=tmp_path / "log").start()
    assert child.wait(10) != 0
    assert "No such file" in child.log_tail()


def test_stop_ends_a_child_that_ignores_it_and_what_the_child_started(tmp_path: Path):
    child = ChildProcess([sys.executable, "-c", STUBBORN], log=tmp_path / "log").start()
    grandchild = int(first_line(tmp_path / "log"))
    child.stop(grace_s=0.2)
    assert child.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(grandchild)


def test_stop_lets_a_child_finish_its_work(tmp_path: Path):
    code = "import signal, sys, time\n"
    code += "signal.signal(signal.SIGTERM, lambda *_: (print('finished'), sys.exit(0)))\n"
    code += "print('ready', flush=True)\ntime.sleep(60)"
    with ChildProcess([sys.executable, "-c", code], log=tmp_path / "log") as child:
        first_line(tmp_path / "log")
    assert child.returncode == 0
    assert child.log_tail() == "ready | finished"


def test_a_killed_child_starts_again(tmp_path: Path):
    child = ChildProcess([sys.executable, "-c", STUBBORN], log=tmp_path / "log").start()
    child.kill()
    first = child.pid
    child.start()
    assert child.running
    assert child.pid != first
    child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux promises it")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path):
    code = f"""
import sys, time
from pathlib import Path
from preempt.processes import ChildProcess
child = ChildProcess([sys.executable, "-c", {STUBBORN!r}], log=Path({str(tmp_path / "log")!r}))
print(child.start().pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    first_line(tmp_path / "log")
    assert alive(pid)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)
    os.kill(int(first_line(tmp_path / "log")), signal.SIGKILL)  # the grandchild is not ours to tie


def test_a_lock_is_one_owners_until_it_is_released(tmp_path: Path):
    first, second = FolderLock(tmp_path, what="it"), FolderLock(tmp_path, what="it")
    first.acquire()
    with pytest.raises(UserError, match=rf"it in {tmp_path} is in use by process {os.getpid()}"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_whose_owner_died_waits_for_the_owners_children(tmp_path: Path):
    code = f"""
import sys
from pathlib import Path
from preempt.processes import ChildProcess, FolderLock
folder = Path({str(tmp_path)!r})
lock = FolderLock(folder, what="it")
lock.acquire()
# A session of its own that nobody ends: it outlives us by a moment, and holds the lock.
import subprocess
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], pass_fds=[lock.descriptor])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    begun = time.monotonic()
    lock = FolderLock(tmp_path, what="it")
    lock.acquire()
    assert time.monotonic() - begun > 0.3
    lock.release()


def test_an_owner_that_died_and_left_nothing_leaves_no_lock(tmp_path: Path):
    code = f"""
import os, signal
from pathlib import Path
from preempt.processes import FolderLock
FolderLock(Path({str(tmp_path)!r}), what="it").acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    lock = FolderLock(tmp_path, what="it")
    lock.acquire(patience_s=0)
    lock.release()


def test_free_ports_can_be_bound():
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
