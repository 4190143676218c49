"""How the log of `run` looks: JSON lines for collectors, or text for people, on stderr."""

from __future__ import annotations

import logging
import sys

import spegel_gossip.cli.without_rich  # isort: skip # noqa: F401 - before structlog is imported by anybody
import structlog

from spegel_gossip.config.values import LogFormat, LogLevel


def configure_logs(level: LogLevel, log_format: LogFormat) -> None:
    """Send structlog's and the libraries' lines to stderr in the format wanted.

    Libraries (Hypercorn, grpc) log by `logging`; only their warnings are of use to an
    operator, and they must not break a stream of JSON.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = _renderer(log_format)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _renderer(log_format: LogFormat) -> list[structlog.typing.Processor]:
    match log_format:
        case LogFormat.JSON:
            return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        case LogFormat.CONSOLE:
            return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
