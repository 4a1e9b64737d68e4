"""Key-value logs on stderr: for people on a terminal, JSON lines elsewhere."""

import logging
import sys

# structlog loads rich wherever it is installed, for tracebacks that no daemon prints: 4 MiB in each of them.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

del sys.modules["rich"]
if _rich is not None:
    sys.modules["rich"] = _rich

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

Logger = structlog.typing.FilteringBoundLogger


def configure(level: str) -> None:
    """Set level (debug, info, warn, error) and format for the whole process; may be called again."""
    pretty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *(_for_people() if pretty else _for_machines()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def _for_people() -> list[structlog.typing.Processor]:
    # Plain tracebacks: the rich ones print local variables, and those may hold a token.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _for_machines() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def logger(name: str) -> Logger:
    """A logger whose lines carry `part=name`."""
    bound: Logger = structlog.get_logger(part=name)
    return bound
