"""What every test can ask for: the real control plane (marker `cluster`) and the whole lab (marker `lab`).

Without their option such tests are skipped with the command that runs them; where CI or KUBE_UPGRADE_REQUIRE is set
that skip is a failure, so that nothing is left out unseen. The programs are made before the first test, outside
any test's time limit.
"""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import structlog

from kube_upgrade.lab.binaries import Binaries, NoBinaries, find_or_make
from kube_upgrade.lab.control_plane import ControlPlane, KubectlFailed
from kube_upgrade.lab.runs import Run
from support.examples import EXAMPLES
from support.postgres import Server, a_postgres

if TYPE_CHECKING:
    from support.workers import Scheduling

# For tools/campaign.py: as many examples, under the seed that it prints.
for profile, examples in EXAMPLES.items():
    hypothesis.settings.register_profile(profile, max_examples=examples, database=None, print_blob=True)

# Whoever starts the tests in the background lets them, and by inheritance the lab, ignore Ctrl-C; some send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

PARTS = {"cluster": "--with-cluster", "lab": "--with-lab", "binary": "--with-binary"}
binaries_key = pytest.StashKey[Binaries]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--with-cluster", action="store_true", help="also run what needs the real control plane")
    parser.addoption("--with-lab", action="store_true", help="also run the whole lab")
    parser.addoption("--with-binary", action="store_true", help="also run what needs dist/upgraded (make binary)")
    parser.addoption("--update-golden", action="store_true", help="write the transcripts of tests/sequences anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What mostly waits comes first, so that several workers (make test) end together."""
    items.sort(key=lambda item: not any(item.get_closest_marker(mark) for mark in PARTS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Scheduling":
    from support.workers import Scheduling

    return Scheduling(config, log)


def left_out(item: pytest.Item) -> list[str]:
    """The options that this test needs and did not get."""
    return [
        option for mark, option in PARTS.items() if item.get_closest_marker(mark) and not item.config.getoption(option)
    ]


def required() -> bool:
    """True where leaving a test out is a failure."""
    return any(os.environ.get(name, "").lower() in ("1", "true") for name in ("CI", "KUBE_UPGRADE_REQUIRE"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if missing := left_out(item):
        _leave_out(f"needs the real thing; run: pytest {' '.join(missing)}")
    if item.get_closest_marker("root") and os.geteuid() != 0:
        _leave_out("needs root; run: sudo make test")


def _leave_out(reason: str) -> None:
    if required():
        pytest.fail(f"{reason} (CI or KUBE_UPGRADE_REQUIRE is set: no test is skipped)", pytrace=False)
    pytest.skip(reason)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    wanted = any(item.get_closest_marker(mark) and not left_out(item) for item in session.items for mark in PARTS)
    if wanted and not config.option.collectonly:
        _make_programs(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Workers find what was made before they were started, by the one process that can show how far it is."""
    if session.config.getoption("numprocesses", None) and any(map(session.config.getoption, PARTS.values())):
        _make_programs(session.config)


def _make_programs(config: pytest.Config) -> None:
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        try:
            config.stash[binaries_key] = find_or_make()
        except NoBinaries as failure:
            pytest.exit(str(failure), returncode=1)


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """What one test sets for the whole process (level, format) is gone before the next."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> Binaries:
    """The real programs."""
    return request.config.stash[binaries_key]


@pytest.fixture(scope="session")
def control_plane(binaries: Binaries) -> Iterator[ControlPlane]:
    """One real control plane for the whole session; each test brings its own names and removes what it created."""
    with Run.open("tests") as run, ControlPlane.start(run, binaries) as plane:
        yield plane


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One real PostgreSQL server for the whole session; each test makes databases of its own."""
    with a_postgres() as server:
        yield server


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own in which pods can be created; deleted afterwards."""
    name = f"test-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "namespace", name)
    await_service_account(control_plane, name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def await_service_account(control_plane: ControlPlane, namespace: str, seconds: float = 90.0) -> None:
    """Wait until the controller manager has given the namespace its default service account."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            control_plane.kubectl("get", "serviceaccount", "default", "--namespace", namespace)
        except KubectlFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
