"""What /proc says is read right, odd names and dead processes included."""

import os
import subprocess
import sys

from kube_upgrade.lab import proc


def test_a_process_sees_itself_as_living_since_one_time() -> None:
    seen = proc.see(os.getpid())
    assert seen is not None
    assert (seen.pid, seen.group, seen.zombie) == (os.getpid(), os.getpgrp(), False)
    assert proc.alive(seen.pid, seen.started)
    assert not proc.alive(seen.pid, seen.started - 1)


def test_a_name_with_brackets_and_spaces_does_not_confuse() -> None:
    script = "open('/proc/self/comm', 'w').write('a) R 1 (b'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        seen = proc.see(child.pid)
        child.kill()
    assert seen is not None
    assert seen.group == os.getpgrp()


def test_a_zombie_is_not_alive_and_a_gone_process_is_nobody() -> None:
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected
    seen = proc.see(child.pid)
    assert seen is not None
    assert seen.zombie
    assert not proc.alive(seen.pid, seen.started)
    child.wait()
    assert proc.see(child.pid) is None


def test_a_mark_is_the_whole_folder_not_its_beginning() -> None:
    environment = {proc.MARK: "/runs/lab-12"}
    with subprocess.Popen(["/bin/sh", "-c", "echo; read x"], env=environment, stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the kernel shows the environment once the program runs
        marks = [proc.marked(child.pid, "/runs/lab-12"), proc.marked(child.pid, "/runs/lab-1")]
        child.kill()
    assert marks == [True, False]
