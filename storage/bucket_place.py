"""Where the storage of another registry is in S3, as a text that can be written down: it holds no secrets."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

SCHEME = "s3://"

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}\Z")
_FIELDS = ("endpoint", "region", "path_style", "profile")
_STYLES = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A prefix in a bucket, and how the bucket is reached. Who asks is not told, but for the name of a profile.

    Attributes:
        prefix: the `rootdirectory` of the other registry, without slashes at its ends; may be empty.
        endpoint, region, path_style: as in `storage.s3_options.S3Options`.
        profile: of the files that the AWS command line uses.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    profile: str | None = None

    @classmethod
    def parse(cls, text: str) -> "BucketPlace":
        """Read `s3://BUCKET/PREFIX`, and what may stand after a `?`: `endpoint=URL&region=...`.

        Raises:
            ValueError: it is no such text; the message says what was expected.
        """
        path, _, query = text.removeprefix(SCHEME).partition("?")
        bucket, _, prefix = path.partition("/")
        if not text.startswith(SCHEME) or not _BUCKET.match(bucket):
            raise ValueError(f"expected s3://BUCKET/PREFIX, got {text[:200]!r}")
        given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
        unknown = sorted(given.keys() - set(_FIELDS))
        style = given.get("path_style")
        if unknown or style not in {None, *_STYLES}:
            raise ValueError(f"expected {', '.join(_FIELDS)} after the ?, got {query[:200]!r}")
        endpoint = given.get("endpoint") or None
        if endpoint is not None:
            endpoint = _checked_url(endpoint)
        return cls(
            bucket,
            unquote(prefix).strip("/"),
            endpoint,
            given.get("region") or None,
            None if style is None else _STYLES[style],
            given.get("profile") or None,
        )

    @property
    def text(self) -> str:
        """The same for the same place: what is written down."""
        values = {
            "endpoint": self.endpoint,
            "region": self.region,
            "path_style": None if self.path_style is None else str(self.path_style).lower(),
            "profile": self.profile,
        }
        query = urlencode({name: value for name, value in values.items() if value is not None}, safe=":/")
        path = f"{SCHEME}{self.bucket}/{quote(self.prefix)}".rstrip("/")
        return f"{path}?{query}" if query else path


def is_bucket(place: str) -> bool:
    """Say whether a place is in S3, and not a folder."""
    return place.startswith(SCHEME)


def identity_of(place: str) -> str:
    """Return what two places have in common that are the same storage: folder, or bucket, prefix and endpoint."""
    if not is_bucket(place):
        return place
    found = BucketPlace.parse(place)
    return BucketPlace(found.bucket, found.prefix, found.endpoint).text


def _checked_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.path.strip("/"):
        raise ValueError("expected an endpoint of http:// or https://, a host and nothing after it")
    return text.rstrip("/")
