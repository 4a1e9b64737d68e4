"""Progress is one live line on a terminal and few plain lines elsewhere."""

import io

from kube_upgrade.lab.progress import ERASE, Progress


def test_a_terminal_sees_each_step_in_the_same_line() -> None:
    heard = io.StringIO()
    progress = Progress(heard, live=True)
    progress.show("1 of 2")
    progress.show("2 of 2")
    progress.say("done")
    assert heard.getvalue() == f"{ERASE}1 of 2{ERASE}2 of 2{ERASE}done\n"


def test_a_log_hears_of_a_step_only_when_it_takes_long() -> None:
    heard = io.StringIO()
    progress = Progress(heard, live=False, quiet=3600)
    progress.say("begun")
    progress.show("1 of 2")
    assert heard.getvalue() == "begun\n"


def test_a_log_hears_of_a_step_that_takes_long() -> None:
    heard = io.StringIO()
    Progress(heard, live=False, quiet=0).show("1 of 2")
    assert heard.getvalue() == "1 of 2\n"
