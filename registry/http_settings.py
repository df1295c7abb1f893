"""The section `http`: how clients reach the server, and what they may cost. Read by `registry.settings`."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from registry.setting_types import Duration, Networks, Section, Size


class TlsSettings(Section):
    """`http.tls`: TLS served by Stowage itself. PEM files."""

    certificate: Path | None = Field(None, description="The certificate and its chain; turns TLS on.")
    key: Path | None = Field(None, description="Its private key, when that is not in `certificate`.")
    client_ca: Path | None = Field(None, description="Only clients with a certificate signed by one of these get in.")


class LimitSettings(Section):
    """`http.limits`: what connections may cost. `registry.http.limits` holds them as the protocol takes them."""

    connections: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Open connections a worker. Beyond them the one that waited longest for a request is closed; if "
        "none waits, the new one gets 503.",
    )
    headers: int = Field(100, ge=10, le=10_000, description="Most headers of a request; more is 431.")
    head_size: Size = Field(
        64 * 1024,
        ge=8 * 1024,
        le=1024**2,
        description="Most bytes of a request's line and headers, trailers included; more is 431.",
    )
    ignored_body: Size = Field(
        64 * 1024,
        le=1024**3,
        description="Most bytes of a body sent with GET, HEAD, DELETE or OPTIONS, which nothing reads; more is 413.",
    )
    idle: Duration = Field(
        75, description="From a connection's start, or an answer, to the end of the next request's head."
    )
    stall: Duration = Field(
        60,
        description="A request's body that doesn't come on for so long is answered with 408, an answer that isn't "
        "taken is cut off. Less than 4 KiB in this time counts as nothing; a whole transfer may take as long as it "
        "likes.",
    )


class HttpSettings(Section):
    """`http`: where the server listens and how it is reached."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(5000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Processes that answer requests; one for each CPU core that affinity and cgroup grant when not "
        "given.",
    )
    public_url: str | None = Field(
        None,
        description="How clients reach the server, e.g. https://registry.example.org. Locations become absolute with "
        "it; without it they are relative, which every client understands.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses and networks of the proxies whose `Forwarded` and `X-Forwarded-For`, `-Proto` and "
        "`-Host` are believed.",
    )
    limits: LimitSettings = LimitSettings()
    tls: TlsSettings = TlsSettings()

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/") or parts.query:
            raise ValueError("expected http:// or https://, a host and nothing after it")
        return value.rstrip("/")
