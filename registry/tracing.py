"""Traces of requests. OpenTelemetry is imported only where tracing is configured: that takes long."""

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from registry.watching_settings import TracingSettings


class Tracing(Protocol):
    """What becomes of requests' spans."""

    def begin(self, scope: Any, request_id: str) -> Any:
        """Begin the span of a request, below the caller's (W3C traceparent), and make it the current one."""

    def leave(self, span: Any) -> None:
        """It is the current one no more; tasks begun meanwhile keep it."""

    def end(self, span: Any, scope: Any, route: str, status: int) -> None:
        """The request is over. `route` is the name of its route."""

    def part(self, name: str) -> AbstractContextManager[Any]:
        """Return what spans a part of the current request."""

    def stop(self) -> None:
        """Send what is left, for as long as that takes; blocks for some seconds at most."""


def start_tracing(settings: TracingSettings) -> Tracing | None:
    """Begin to trace where the settings say so. To be called in each process: what sends is a thread."""
    if settings.endpoint is None:
        return None
    module: Any = importlib.import_module("registry.tracing_otlp")
    tracing: Tracing = module.OtlpTracing(settings.endpoint, settings.sample)
    return tracing


def untraced(name: str) -> AbstractContextManager[Any]:
    """Stand in for `Tracing.part` where nothing is traced."""
    return _NOTHING


_NOTHING: AbstractContextManager[Any] = nullcontext()
