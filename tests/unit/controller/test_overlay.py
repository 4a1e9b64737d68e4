"""Our own write is visible at once, and only until the watch has caught up."""

from dataclasses import dataclass

from kube_upgrade.controller.overlay import Overlay


@dataclass(frozen=True)
class Thing:
    resource_version: str
    text: str = ""


def test_a_write_is_visible_before_the_watch_shows_it() -> None:
    copy = {"a": Thing("1", "old"), "b": Thing("7")}
    overlay = Overlay(copy)

    overlay.put("a", "1", Thing("2", "ours"))

    assert overlay.get("a") == Thing("2", "ours")
    assert list(overlay.values()) == [Thing("2", "ours"), Thing("7")]


def test_whatever_the_watch_shows_next_wins() -> None:
    copy = {"a": Thing("1")}
    overlay = Overlay(copy)
    overlay.put("a", "1", Thing("2", "ours"))

    copy["a"] = Thing("3", "somebody else's, later")

    assert overlay.get("a") == Thing("3", "somebody else's, later")
    copy["a"] = Thing("1")
    assert overlay.get("a") == Thing("1"), "a write is shown no more once the watch moved on"


def test_a_deleted_object_is_gone_at_once() -> None:
    copy = {"a": Thing("1")}
    overlay = Overlay(copy)
    overlay.put("a", "1", Thing("2"))

    del copy["a"]

    assert overlay.get("a") is None
    assert list(overlay.values()) == []


def test_a_write_of_ours_that_the_watch_brings_back_is_shown_already() -> None:
    overlay = Overlay({"a": Thing("1")})
    overlay.put("a", "1", Thing("2"))
    overlay.put("a", "2", Thing("3"))

    assert [overlay.ours("a", version) for version in "234"] == [True, True, False]
    assert not overlay.ours("b", "3")


def test_while_a_write_of_ours_is_under_way_a_change_may_be_it() -> None:
    overlay: Overlay[Thing] = Overlay({"a": Thing("1")})
    with overlay.writing("a"):
        assert overlay.ours("a", "2")
        assert not overlay.ours("b", "2")
    assert not overlay.ours("a", "2")


def test_an_unknown_key_is_none() -> None:
    overlay: Overlay[Thing] = Overlay({})

    assert overlay.get("a") is None


def test_two_writes_before_the_watch_shows_the_first_are_both_visible() -> None:
    """A watch that is down while writes still pass must not show what they replaced."""
    copy = {"a": Thing("1")}
    overlay = Overlay(copy)

    overlay.put("a", "1", Thing("2"))
    overlay.put("a", "2", Thing("3", "ours"))

    assert overlay.get("a") == Thing("3", "ours")
    copy["a"] = Thing("2")
    assert overlay.get("a") == Thing("3", "ours"), "the watch is on its way"
    copy["a"] = Thing("4", "later")
    assert overlay.get("a") == Thing("4", "later")
