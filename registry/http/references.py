"""What the last part of a manifest's path may be: a tag or a digest."""

from registry.errors import ManifestUnknown
from registry.oci.names import RepositoryName, Tag, is_tag
from storage.digest import Digest, parse_digest


def as_digest(reference: str) -> Digest | None:
    """Return the reference as a digest, None if it is none.

    Raises:
        InvalidDigest: it has a colon, so it can be no tag, and is no digest of a supported algorithm.
    """
    return parse_digest(reference) if ":" in reference else None


def existing_tag(repository: RepositoryName, reference: str) -> Tag:
    """Return the reference as a tag that may exist.

    Raises:
        ManifestUnknown: no tag can be called that.
    """
    if not is_tag(reference):
        raise ManifestUnknown(f"{repository} has no tag {reference[:128]!r}: no tag can be called that")
    return Tag(reference)
