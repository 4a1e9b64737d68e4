"""Versions parse, print and order as semver says."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.model.version import BadVersion, KubeVersion

NUMBERS = st.integers(min_value=0, max_value=10_000)
WORDS = st.integers(min_value=0, max_value=99).map(str) | st.from_regex(
    r"[0-9]{0,2}[a-zA-Z-][0-9a-zA-Z-]{0,3}", fullmatch=True
)
PRES = st.lists(WORDS, max_size=3).map(".".join)
VERSIONS = st.builds(KubeVersion, NUMBERS, NUMBERS, NUMBERS, PRES)

LADDER = (  # semver.org's own example, between Kubernetes releases
    "v1.36.4",
    "v1.37.0-alpha",
    "v1.37.0-alpha.1",
    "v1.37.0-alpha.beta",
    "v1.37.0-beta",
    "v1.37.0-beta.2",
    "v1.37.0-beta.11",
    "v1.37.0-rc.1",
    "v1.37.0",
    "v1.37.1",
    "v1.37.2",
    "v1.37.10",
    "v1.38.0",
    "v2.0.0",
)


@given(VERSIONS)
def test_what_is_printed_is_read_back(version: KubeVersion) -> None:
    assert KubeVersion.parse(str(version)) == version


@given(VERSIONS, VERSIONS)
def test_exactly_one_of_less_equal_and_greater_holds(one: KubeVersion, other: KubeVersion) -> None:
    assert [one < other, one == other, one > other].count(True) == 1


@given(VERSIONS, VERSIONS, VERSIONS)
def test_order_is_transitive(one: KubeVersion, two: KubeVersion, three: KubeVersion) -> None:
    low, middle, high = sorted([one, two, three])
    assert low <= middle <= high
    assert low <= high


@given(VERSIONS, VERSIONS)
def test_distance_in_minors_has_the_sign_of_the_order_of_releases(one: KubeVersion, other: KubeVersion) -> None:
    assert one.minors_above(other) == -other.minors_above(one)
    if one.major == other.major:
        assert (one.minors_above(other) > 0) == (one.release > other.release)


def test_releases_and_prereleases_order_as_semver_says() -> None:
    ladder = [KubeVersion.parse(text) for text in LADDER]
    assert all(low < high for low, high in pairwise(ladder))


@pytest.mark.parametrize("text", ["v1.37.2+build.5", " v1.37.2\n", "1.37.2"])
def test_build_blanks_and_a_missing_v_do_not_matter(text: str) -> None:
    assert str(KubeVersion.parse(text)) == "v1.37.2"


@pytest.mark.parametrize(
    "text", ["", "v1.37", "v1.37.02", "v1.37.2-", "v1.37.2-rc..1", "v1.37.2-rc.01", "v1.37.x", "v1.37.2 x", "v1.37.٢"]
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadVersion, match=r"is not a version like v1\.37\.2"):
        KubeVersion.parse(text)
