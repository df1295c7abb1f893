"""Addresses under which whoever has them may get an object from the store for a while."""

import functools
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from storage.s3_client import make_client
from storage.s3_errors import explained
from storage.s3_options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SHORTEST_S = 60
"""An address that holds for less is not given out: a slow client would come too late with it."""


class Signer:
    """Signs addresses of one bucket, on the endpoint that clients see."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._client: S3Client | None = None
        self._prefix = f"{options.prefix}/" if options.prefix else ""
        if options.redirection.enabled:
            self._client = make_client(options, options.redirection.endpoint)
        self.serves = functools.lru_cache(4096)(self._serves)

    def _serves(self, address: str) -> bool:
        """Say whether a client with this IP address is redirected. One whose address makes no sense is not."""
        if self._client is None:
            return False
        try:
            client = ip_address(address)
        except ValueError:
            return False
        if isinstance(client, IPv6Address) and client.ipv4_mapped is not None:
            client = client.ipv4_mapped
        return not any(client in network for network in self._options.redirection.proxied_networks)

    def sign(self, name: str) -> str | None:
        """Return the address of an object; None while the credentials are about to expire. May ask for new ones.

        Raises StorageUnavailable: there are no credentials.
        """
        if self._client is None:
            return None
        with explained("sign an address of", name):
            lifetime = min(self._options.redirection.lifetime_s, self._credentials_left())
            if lifetime < _SHORTEST_S:
                return None
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._options.bucket, "Key": self._prefix + name}, ExpiresIn=lifetime
            )

    def _credentials_left(self) -> int:
        """Return for how many seconds the credentials hold, after boto3 had the chance to renew them."""
        client: Any = self._client
        credentials = client._request_signer._credentials
        if credentials is None:
            return self._options.redirection.lifetime_s  # signing will say that there are none
        credentials.get_frozen_credentials()
        expiry = getattr(credentials, "_expiry_time", None)  # of those that are renewed; boto3 has no other word for it
        if expiry is None:
            return self._options.redirection.lifetime_s
        return int((expiry - datetime.now(UTC)).total_seconds())
