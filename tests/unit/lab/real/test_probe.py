"""An outage goes from the first probe that fails until answers are good and stay so; ways to one thing count once."""

from kube_upgrade.lab.real.probe import OK, Outage, Probe, Sample, Target, outages, together


def samples(*answers: str, every: float = 1.0) -> list[Sample]:
    return [Sample(number * every, number * every + 0.1, answer) for number, answer in enumerate(answers)]


def test_no_failed_probe_is_no_outage() -> None:
    assert list(outages(samples(OK, OK))) == []


def test_an_outage_lasts_until_the_next_good_answer_is_here() -> None:
    assert list(outages(samples(OK, "refused", "403", "refused", OK))) == [
        Outage(1.0, 4.1, (("403", 1), ("refused", 2)))
    ]


def test_a_short_good_spell_does_not_end_an_outage() -> None:
    flapping = samples("refused", OK, "refused", OK, OK, OK, OK, every=0.5)
    assert list(outages(flapping)) == [Outage(0.0, 1.6, (("refused", 2),))]


def test_an_outage_that_has_not_ended_lasts_until_the_last_probe() -> None:
    assert list(outages(samples(OK, "no answer"))) == [Outage(1.0, 1.1, (("no answer", 1),))]


def test_a_service_is_out_only_while_every_way_to_it_is() -> None:
    one = samples(OK, "refused", "refused", "refused", OK, OK)
    other = samples(OK, OK, OK, "500", "500", OK)

    assert list(together([one, other])) == [Outage(3.0, 4.1, (("500", 2), ("refused", 3)))]
    assert list(together([one, samples(OK, OK, OK, OK, OK, OK)])) == []


def test_the_table_counts_from_the_plan() -> None:
    ways = [Target("by a", "a", 1, "/", service="web"), Target("by b", "b", 1, "/", service="web")]
    probe = Probe(ways, zero=1.0, samples={"by a": samples(OK, "refused", OK), "by b": samples(OK, OK, OK)})

    assert probe.seconds() == {"by a": [(0.0, 1.1)], "by b": [], "web": []}
    assert probe.table() == TABLE


TABLE = """\
TARGET   PROBES   OUTAGES   IN ALL   LONGEST
by a     3        1         1.1 s    1.1 s
by b     3        0         0.0 s    0.0 s
web      -        0         0.0 s    0.0 s

OUT    FROM    FOR     INSTEAD OF 200
by a   0.0 s   1.1 s   1 × refused"""
