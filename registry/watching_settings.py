"""Sections of the configuration that say how the server is watched: logs, metrics, traces, an own port for them."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from registry.setting_types import Networks, Section


class LogSettings(Section):
    """`logs`: what is written to stderr."""

    format: Literal["auto", "text", "json"] = Field(
        "auto", description="text for people, json for programs; auto is text on a terminal and JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is worth a line.")
    access: bool = Field(True, description="One line for each request, once it is answered.")


class MetricsSettings(Section):
    """`metrics`: figures in Prometheus' form, at `/metrics`."""

    enabled: bool = Field(True, description="Whether figures are collected and shown at `/metrics`.")
    networks: Networks = Field(
        (),
        description="Who may read `/metrics` on the registry's port: these addresses and networks, and loopback. On "
        "the port of `operations` everybody may.",
    )


class OperationsSettings(Section):
    """`operations`: a port of their own for `/metrics`, `/healthz` and `/readyz`, in plain HTTP."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which `/metrics`, `/healthz` and `/readyz` are served, in plain HTTP, and then no more on "
        "the registry's; 0 takes a free one.",
    )


class TracingSettings(Section):
    """`tracing`: traces of requests, sent by OTLP over HTTP."""

    endpoint: str | None = Field(
        None,
        description="Where traces are sent by OTLP over HTTP, e.g. http://localhost:4318, to which `/v1/traces` is "
        "added unless there is a path; nothing is traced without.",
    )
    sample: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the requests traced that come without a decision of the caller's; by "
        "OTEL_TRACES_SAMPLER, or all of them, when not given.",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected http:// or https:// and a host")
        return value if parts.path.strip("/") else f"{value.rstrip('/')}/v1/traces"
