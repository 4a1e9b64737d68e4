"""Probes answer over plain HTTP."""

import pytest

from kube_upgrade.telemetry.health import respond


def well() -> None:
    return None


def ill() -> str:
    return "no watch on nodes"


def test_a_healthy_program_is_alive_and_ready() -> None:
    assert respond(b"GET /healthz HTTP/1.1\r\n\r\n", alive=well, ready=ill).startswith(b"HTTP/1.1 200 OK\r\n")
    assert respond(b"GET /readyz HTTP/1.1\r\n\r\n", alive=well, ready=well).endswith(b"\r\n\r\nok\n")


def test_readyz_says_what_is_missing() -> None:
    answer = respond(b"GET /readyz HTTP/1.1\r\n\r\n", alive=well, ready=ill)

    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.endswith(b"no watch on nodes\n")


def test_metrics_are_prometheus_text() -> None:
    assert b"# TYPE process_" in respond(b"GET /metrics?x=1 HTTP/1.1\r\n\r\n", alive=well, ready=well)


@pytest.mark.parametrize(
    ("request_line", "status"), [(b"POST /healthz", b"405"), (b"GET /other", b"404"), (b"\r\n", b"405")]
)
def test_everything_else_is_refused(request_line: bytes, status: bytes) -> None:
    answer = respond(request_line + b" HTTP/1.1\r\n\r\n", alive=well, ready=well)

    assert answer.split(b" ")[1] == status
