"""Which settings are for a bucket that was taken over."""

from pydantic import SecretStr

from registry.drivers import imported_options
from registry.storage_settings import S3Settings
from storage.bucket_place import BucketPlace, identity_of

OWN = S3Settings(
    bucket="own",
    prefix="registry",
    endpoint="http://minio:9000",
    access_key_id="me",
    secret_access_key=SecretStr("secret"),
    redirect=True,
    attempts=7,
)


def test_a_bucket_at_the_own_endpoint_is_reached_with_the_own_credentials() -> None:
    options = imported_options(OWN, BucketPlace("old", "a/b", "http://minio:9000", "eu", False))
    assert (options.bucket, options.prefix) == ("old", "a/b/docker/registry/v2")
    assert (options.region, options.path_style, options.attempts) == ("eu", False, 7)
    assert (options.credentials.access_key_id, options.redirection.enabled) == ("me", True)


def test_keys_are_not_shown_to_another_endpoint_and_clients_are_not_sent_there() -> None:
    for place in (BucketPlace("old", endpoint="http://elsewhere:9000"), BucketPlace("old")):
        options = imported_options(OWN, place)
        assert (options.credentials.access_key_id, options.credentials.secret_access_key) == (None, None)
        assert not options.redirection.enabled
        assert options.prefix == "docker/registry/v2"


def test_a_profile_is_asked_instead_of_keys() -> None:
    options = imported_options(OWN, BucketPlace("old", endpoint="http://minio:9000", profile="old"))
    assert (options.credentials.profile, options.credentials.access_key_id) == ("old", None)


def test_a_place_is_written_and_read_again() -> None:
    place = BucketPlace("old", "a b/ü?c%", "http://minio:9000", "eu", True, "some one&more")
    assert BucketPlace.parse(place.text) == place
    assert BucketPlace.parse(BucketPlace("old").text) == BucketPlace("old")
    assert identity_of(place.text) == identity_of(BucketPlace("old", "a b/ü?c%", "http://minio:9000").text)
    assert identity_of(place.text) != identity_of(BucketPlace("old", "a b", "http://minio:9000").text)
    assert identity_of("/var/lib/registry") == "/var/lib/registry"
