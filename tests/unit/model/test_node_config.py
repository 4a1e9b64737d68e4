"""The `upgraded` settings are read by any of their names, merge field by field and survive annotations."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.model.node_config import (
    FIELDS,
    LOG_LEVELS,
    LONGEST,
    BadValue,
    Field,
    NodeConfig,
    parse_duration,
    read_config,
    render,
    render_duration,
)

DURATIONS = st.timedeltas(min_value=timedelta(0), max_value=LONGEST)
TEXTS = st.text(max_size=8).filter(str.isprintable)
POSITIVE = DURATIONS.filter(bool)
CONFIGS = st.builds(
    NodeConfig,
    stream=st.none() | TEXTS,
    fleetlock_url=st.none() | TEXTS,
    fleetlock_group=st.none() | TEXTS,
    check_interval=st.none() | POSITIVE,
    retry_interval=st.none() | POSITIVE,
    log_level=st.none() | st.sampled_from(LOG_LEVELS),
    kubelet_config=st.none() | TEXTS,
    kubeadm_path=st.none() | TEXTS,
    allow_unsigned_ostree_images=st.none() | st.booleans(),
)


@given(DURATIONS)
def test_a_duration_that_is_written_is_read_back_to_the_microsecond(value: timedelta) -> None:
    assert parse_duration(render_duration(value)) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("1h1m1s1ms", 3661.001),
        ("30m1h", 5400),
    ],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "1d", "-5m", "3h garbage", "1 h", "h", ".5h", "٥m", "1h\n"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadValue, match="1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["8760h1ms", "99999999h", "525601m", "9" * 30 + "h"])
def test_what_is_longer_than_a_year_is_refused_before_it_leads_out_of_time(text: str) -> None:
    """A moment so long after now has no date any more: whoever reckoned with it would end."""
    assert parse_duration("8760h") == LONGEST
    with pytest.raises(BadValue, match=f"'{text}' must be 8760h"):
        parse_duration(text)


@given(CONFIGS)
def test_annotations_carry_exactly_what_is_set(config: NodeConfig) -> None:
    assert read_config(config.to_annotations()) == config


@given(CONFIGS, CONFIGS)
def test_a_group_wins_field_by_field_and_only_where_it_says_something(group: NodeConfig, plan: NodeConfig) -> None:
    merged = group.over(plan)
    for field in FIELDS:
        said = getattr(group, field.name)
        assert getattr(merged, field.name) == (getattr(plan, field.name) if said is None else said)


@given(CONFIGS)
def test_defaults_fill_only_what_is_open(config: NodeConfig) -> None:
    full = config.with_defaults()
    assert config.over(full) == full
    assert all(getattr(full, field.name) is not None for field in FIELDS if field.name != "fleetlock_url")


@pytest.mark.parametrize(
    "field", [field for field in FIELDS if field.default is not None], ids=lambda field: field.name
)
def test_every_setting_is_read_by_its_three_names(field: Field) -> None:
    assert field.default is not None
    for name in (field.camel, field.kebab, field.name):
        assert getattr(read_config({name: render(field.default)}), field.name) == field.default


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"checkInterval": "0s"}, "checkInterval: '0s' must be longer than 0s"),
        ({"retry-interval": "soon"}, "retryInterval: 'soon' is not a duration like 90s, 5m or 1h30m"),
        ({"checkInterval": "99999999h"}, "checkInterval: '99999999h' must be 8760h (a year) at most"),
        ({"logLevel": "trace"}, "logLevel: 'trace' is none of debug, info, warn, error"),
        ({"allowUnsignedOstreeImages": "yes"}, "allowUnsignedOstreeImages: 'yes' is neither true nor false"),
        ({"stream": 7}, "stream: 7 is not text"),
        ({"kubeadmPath": "/usr/bin/k\0"}, "kubeadmPath: '/usr/bin/k\\x00' holds what cannot be printed"),
    ],
)
def test_a_bad_value_is_refused_with_field_value_and_what_would_be_right(raw: dict[str, object], words: str) -> None:
    with pytest.raises(BadValue) as refused:
        read_config(raw)
    assert str(refused.value) == words


def test_unknown_keys_and_nulls_say_nothing() -> None:
    assert read_config({"image": "x", "stream": None}) == NodeConfig()
