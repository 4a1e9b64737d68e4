"""A client that asks the API and a Service from first to last and remembers every outage."""

import http.client
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from kube_upgrade.lab.view import columns

EVERY = 0.2  # seconds between two probes of a target
PATIENCE = 1.0  # seconds for one answer
STEADY = 1.0  # seconds of good answers on end that end an outage
OK = "200"


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked. Targets that share `service` are ways to the same thing: it is out while all of them are."""

    name: str
    host: str
    port: int
    path: str
    tls: bool = False
    service: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One probe: when it began and ended, on the monotonic clock, and what came back."""

    began: float
    ended: float
    answer: str


@dataclass(frozen=True, slots=True)
class Outage:
    """From the first probe that failed until answers are good again, and stay so. `answers` counts what was said."""

    began: float
    ended: float
    answers: tuple[tuple[str, int], ...]

    @property
    def seconds(self) -> float:
        """How long."""
        return self.ended - self.began


def outages(samples: Iterable[Sample]) -> Iterator[Outage]:
    """Every time without a steady answer. One that has not ended lasts until the last probe."""
    bad: list[Sample] = []
    recovered: Sample | None = None
    for sample in samples:
        if sample.answer != OK:
            bad.append(sample)
            recovered = None
        elif bad:
            recovered = recovered or sample
            if sample.ended - recovered.ended >= STEADY:
                yield _outage(bad, recovered.ended)
                bad, recovered = [], None
    if bad:
        yield _outage(bad, (recovered or bad[-1]).ended)


def together(ways: Iterable[Sequence[Sample]]) -> Iterator[Outage]:
    """When all ways were out at once: the common part of their outages."""
    common: list[Outage] | None = None
    for samples in ways:
        mine = list(outages(samples))
        common = mine if common is None else [cut for one in common for other in mine if (cut := _cut(one, other))]
    yield from common or ()


def _cut(one: Outage, other: Outage) -> Outage | None:
    began, ended = max(one.began, other.began), min(one.ended, other.ended)
    answers = Counter(dict(one.answers)) + Counter(dict(other.answers))
    return Outage(began, ended, tuple(sorted(answers.items()))) if began < ended else None


def _outage(bad: Sequence[Sample], ended: float) -> Outage:
    return Outage(bad[0].began, ended, tuple(sorted(Counter(sample.answer for sample in bad).items())))


@dataclass(slots=True)
class Probe:
    """Asks each target in a thread of its own while the block runs. `zero` is the moment that the table counts from."""

    targets: Sequence[Target]
    zero: float = field(default_factory=time.monotonic)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for target in self.targets:
            self.samples[target.name] = []
            thread = threading.Thread(target=self._ask, args=(target,), name=f"probe {target.name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *ignored: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def found(self) -> dict[str, list[Outage]]:
        """Outages by target, and by service where one has several ways."""
        found = {target.name: list(outages(self.samples[target.name])) for target in self.targets}
        for service in dict.fromkeys(target.service for target in self.targets if target.service):
            ways = [self.samples[target.name] for target in self.targets if target.service == service]
            found[service] = list(together(ways))
        return found

    def seconds(self) -> dict[str, list[tuple[float, float]]]:
        """When each outage began, counted from zero, and how long it was."""
        return {
            name: [(round(each.began - self.zero, 1), round(each.seconds, 1)) for each in found]
            for name, found in self.found().items()
        }

    def table(self) -> str:
        """Every outage, and a line of sums for each target."""
        rows, sums = [], []
        for name, found in self.found().items():
            asked = str(len(self.samples[name])) if name in self.samples else "-"
            worst = max((outage.seconds for outage in found), default=0.0)
            sums.append(
                (name, asked, str(len(found)), f"{sum(each.seconds for each in found):.1f} s", f"{worst:.1f} s")
            )
            for outage in found:
                said = ", ".join(f"{count} × {answer}" for answer, count in outage.answers)
                rows.append((name, f"{outage.began - self.zero:.1f} s", f"{outage.seconds:.1f} s", said))
        parts = [columns(("TARGET", "PROBES", "OUTAGES", "IN ALL", "LONGEST"), sums)]
        parts += [columns(("OUT", "FROM", "FOR", "INSTEAD OF 200"), rows)] if rows else []
        return "\n\n".join(parts)

    def _ask(self, target: Target) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            answer = ask(target)
            self.samples[target.name].append(Sample(began, time.monotonic(), answer))
            self._ended.wait(max(0.0, began + EVERY - time.monotonic()))


def ask(target: Target) -> str:
    """The status, or in a word why there is none."""
    connection = _connection(target)
    try:
        connection.request("GET", target.path)
        return str(connection.getresponse().status)
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused"
    except (OSError, http.client.HTTPException):
        return "broken off"
    finally:
        connection.close()


def _connection(target: Target) -> http.client.HTTPConnection:
    if not target.tls:
        return http.client.HTTPConnection(target.host, target.port, timeout=PATIENCE)
    return http.client.HTTPSConnection(target.host, target.port, timeout=PATIENCE, context=_ANYBODY)


_ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it is asked whether, not who
_ANYBODY.check_hostname, _ANYBODY.verify_mode = False, ssl.CERT_NONE
