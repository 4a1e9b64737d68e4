"""What is remembered of Nodes whose patch the API server refuses."""

import asyncio

from kube_upgrade.controller.refusals import FIRST_PAUSE, MOST_PAUSE, Refusals
from kube_upgrade.kube.errors import api_error
from support.live import virtual

DENIED = api_error(403, "Forbidden", "denied by policy")


@virtual
async def test_a_refused_node_rests_for_a_pause_of_its_own_and_is_told_until_a_write_passes() -> None:
    refusals = Refusals()
    refusals.note("w1", DENIED)
    assert (refusals.rests("w1"), refusals.rests("w2")) == (True, False)
    rest = refusals.seconds()
    assert rest is not None
    assert FIRST_PAUSE / 2 <= rest <= FIRST_PAUSE

    await asyncio.sleep(FIRST_PAUSE + 0.1)
    assert not refusals.rests("w1")
    assert refusals.told() == {"w1": str(DENIED)}
    refusals.clear("w1")
    assert refusals.told() == {}


@virtual
async def test_the_pause_grows_with_each_refusal_in_a_row_up_to_a_minute() -> None:
    refusals = Refusals()
    rests = []
    for _ in range(12):
        refusals.note("w1", DENIED)
        rests.append(refusals.seconds() or 0.0)
    assert rests[4] > rests[0]
    assert MOST_PAUSE / 2 <= rests[-1] <= MOST_PAUSE

    refusals.clear("w1")
    refusals.note("w1", DENIED)
    assert (refusals.seconds() or 0.0) <= FIRST_PAUSE, "one that passed ends the row"


@virtual
async def test_a_node_that_is_gone_is_forgotten() -> None:
    """Else its refusal would be told for ever."""
    refusals = Refusals()
    refusals.note("w1", DENIED)
    refusals.note("w2", DENIED)

    refusals.keep(["w2"])

    assert list(refusals.told()) == ["w2"]
