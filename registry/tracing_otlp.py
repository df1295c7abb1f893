"""Traces by OpenTelemetry's SDK, sent by OTLP over HTTP. The SDK's own OTEL_ variables count for all not set here."""

import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from typing import Any, NamedTuple

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from registry import __version__

_LAST_SECONDS = 3.0  # that the end of a process may be held up, less than the supervisor waits
_LONGEST_TEXT = 1024

_logger = logging.getLogger("stowage.tracing")


class _Begun(NamedTuple):
    span: Span
    token: "Token[context.Context]"


class OtlpTracing:
    """Sends spans to `endpoint`, from a thread. What can't be sent is lost; no request waits for it.

    Args:
        sample: share of the requests traced that come without a caller's decision; None leaves it to the SDK.
    """

    def __init__(self, endpoint: str, sample: float | None) -> None:
        sampler = None if sample is None else ParentBased(TraceIdRatioBased(sample))
        self._provider = TracerProvider(sampler=sampler, resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        # It warns of each span that is lost once its queue is full. That the collector fails is told by the exporter.
        logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)
        self._tracer = self._provider.get_tracer("stowage", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, scope: Any, request_id: str) -> _Begun:
        """Begin the span of a request, below the caller's (W3C traceparent), and make it the current one."""
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in {b"traceparent", b"tracestate"}
        }
        parent = self._propagator.extract(carrier, context=context.Context())
        attributes: dict[str, str | int] = {
            "http.request.method": scope["method"],
            "url.path": scope["path"][:_LONGEST_TEXT],
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
            "stowage.request_id": request_id,
        }
        span = self._tracer.start_span(
            scope["method"], context=parent, kind=SpanKind.SERVER, attributes=attributes, set_status_on_exception=False
        )
        return _Begun(span, context.attach(trace.set_span_in_context(span, parent)))

    def leave(self, span: _Begun) -> None:
        """It is the current one no more; tasks begun meanwhile keep it."""
        context.detach(span.token)

    def end(self, span: _Begun, scope: Any, route: str, status: int) -> None:
        """The request is over. Only a fault of the server makes it a failed one (semantic conventions, "HTTP")."""
        begun = span.span
        if begun.is_recording():
            begun.update_name(f"{scope['method']} {route}")
            begun.set_attributes({"http.route": route, "http.response.status_code": status})
            if scope.get("client"):  # now what trusted proxies say
                begun.set_attribute("client.address", scope["client"][0])
            if status >= 500:
                begun.set_status(Status(StatusCode.ERROR))
        begun.end()

    def part(self, name: str) -> AbstractContextManager[Any]:
        """Return what spans a part of the current request; nothing outside of one, such as in a job."""
        if not trace.get_current_span().get_span_context().is_valid:
            return nullcontext()
        # Not made the current one: a request becomes a task where it first waits, and so changes its context.
        return self._tracer.start_span(name)

    def stop(self) -> None:
        """Send what is left, for as long as that takes; blocks for some seconds at most."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(_LAST_SECONDS)
        if last.is_alive():
            _logger.warning("the last traces are lost: the collector did not take them in %g s", _LAST_SECONDS)


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: __version__})
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):  # neither OTEL_ variable names it
        found = found.merge(Resource({SERVICE_NAME: "stowage"}))
    return found
