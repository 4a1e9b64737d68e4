"""Every reason to wait is explained, and says what to do."""

import pytest

from kube_upgrade.model.remedies import REMEDIES
from kube_upgrade.model.status import Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_meaning_and_a_remedy(reason: Reason) -> None:
    assert REMEDIES[reason].meaning.endswith(".")
    assert REMEDIES[reason].remedy.endswith(".")
