"""What an S3 driver is told: where the bucket is, who asks, and how much of everything it may take."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

MIB = 1024 * 1024
SMALLEST_PART = 5 * MIB
"""Every part of a multipart upload but the last has at least so many bytes (Amazon S3, "Multipart upload limits")."""
LARGEST_PART = 5 * 1024 * MIB
MOST_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. Without a key, boto3 looks as it does everywhere: environment, profile, web identity, metadata.

    Secrets stay out of `repr`.
    """

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the store is to encrypt what it is given: `AES256`, `aws:kms`, or None for as the bucket says."""

    algorithm: str | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Redirection:
    """Whether clients get what they pull from the store itself.

    Attributes:
        endpoint: the store's address as clients see it; the driver's own without one.
        lifetime_s: how long an address holds.
        proxied_networks: who is not redirected.
    """

    enabled: bool = False
    endpoint: str | None = None
    lifetime_s: int = 1200
    proxied_networks: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class S3Options:
    """Everything about one bucket.

    Attributes:
        endpoint: None for Amazon's own.
        prefix: what all names in the bucket begin with; no slash at its ends.
        connect_timeout_s, read_timeout_s: how long one attempt waits, for a connection or for the next bytes.
        attempts: how often a request is tried in all.
        retry_mode: `standard` or `adaptive`, as boto3 has them.
        checksums: whether what is sent has a CRC-32 that the store compares.
        part_size: bytes of the first 900 parts of a large upload; they grow after that.
        copy_part_size: bytes of a part that is copied inside the store.
        memory: bytes of parts that wait to be sent, of all uploads together.
        threads: most requests to the store at once.
    """

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    prefix: str = ""
    storage_class: str | None = None
    credentials: Credentials = Credentials()
    encryption: Encryption = Encryption()
    redirection: Redirection = Redirection()
    connect_timeout_s: int = 5
    read_timeout_s: int = 30
    attempts: int = 4
    retry_mode: str = "standard"
    checksums: bool = True
    part_size: int = 16 * MIB
    copy_part_size: int = 512 * MIB
    memory: int = 64 * MIB
    threads: int = 32

    @property
    def where(self) -> str:
        """Where the bucket is, for people."""
        return self.endpoint or "Amazon S3"

    @property
    def place(self) -> str:
        """The bucket and where it is, for people."""
        return f"bucket {self.bucket} at {self.where}"
