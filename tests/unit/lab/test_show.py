"""On a terminal a picture that fits; elsewhere lines that can be read later."""

import io

from rich.console import Console

from kube_upgrade.lab.show import Show
from kube_upgrade.lab.view import NodeRow, View

ROW = NodeRow(name="w-1", group="workers", version="v1.36.3", phase="", service="Ready", lock="", note="")
LONG = "worker-1, worker-2: ControlPlaneFirst: control-plane node control-plane-1 is being upgraded"


def drawn(*, terminal: bool) -> str:
    out = io.StringIO()
    show = Show(console=Console(file=out, force_terminal=terminal, width=60, highlight=False, soft_wrap=True))
    with show.live():
        show.picture(View(title="plan x", summary="Progressing", nodes=(ROW,), waits=(LONG,)))
    return out.getvalue()


def test_on_a_terminal_no_line_of_the_picture_is_wider_than_it() -> None:
    lines = drawn(terminal=True).splitlines()

    assert "waiting: worker-1, worker-2: ControlPlaneFirst: control-pla…" in [line.strip() for line in lines]
    assert not any("control-plane-1" in line for line in lines)


def test_elsewhere_each_change_is_a_whole_line_with_its_time() -> None:
    lines = drawn(terminal=False).splitlines()

    assert [line[8:] for line in lines] == [
        "plan: Progressing",
        "w-1: idle (v1.36.3, Ready)",
        f"waiting: {LONG}",
    ]
    assert all(line[:7].strip().endswith("s") for line in lines)
