"""The formats, against the shapes that their documents have."""

import json
from dataclasses import replace
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from registry.event import ACTIONS, Asker, Event, Part, QuotaShare
from registry.webhooks import cloud_events, distribution, slack
from registry.webhooks.endpoint import Endpoint, Format, Options, Secrets
from registry.webhooks.formats import PING, message_for
from registry.webhooks.message import Message, rfc3339

URL = "https://registry.example.org"
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
AT = 1_700_000_000_123_456
ASKER = Asker("request-1", "192.0.2.7", "registry.example.org", "PUT", "docker/27")


def event(action: str, **more: Any) -> Event:
    facts: dict[str, Any] = {"actor": "user:alice", "digest": DIGEST, "asker": ASKER, **more}
    return Event(7, 42, "c0ffee", AT, action, "team/app", **facts)


PUSHED = event("push", media_type=MANIFEST, size=428, tag="v1", references=(Part(OTHER, "application/x", 3),))


def envelope(found: Message | None) -> dict[str, Any]:
    assert found is not None
    assert found.headers == {"content-type": "application/vnd.docker.distribution.events.v2+json"}
    content = json.loads(found.body)
    assert list(content) == ["events"]
    (one,) = content["events"]
    assert isinstance(one, dict)
    return one


def test_a_push_is_an_envelope_as_distribution_sends_it() -> None:
    assert envelope(distribution.message(PUSHED, public_url=URL)) == {
        "id": "c0ffee-42",
        "timestamp": "2023-11-14T22:13:20.123456Z",
        "action": "push",
        "target": {
            "mediaType": MANIFEST,
            "size": 428,
            "digest": DIGEST,
            "length": 428,
            "repository": "team/app",
            "url": f"{URL}/v2/team/app/manifests/{DIGEST}",
            "tag": "v1",
            "references": [{"mediaType": "application/x", "size": 3, "digest": OTHER}],
        },
        "request": {
            "id": "request-1",
            "addr": "192.0.2.7",
            "host": "registry.example.org",
            "method": "PUT",
            "useragent": "docker/27",
        },
        "actor": {"name": "user:alice"},
        "source": {"addr": "registry.example.org", "instanceID": "c0ffee"},
    }


def name_for_keel(one: dict[str, Any]) -> str | None:
    """The image that Keel updates: `registryNotificationHandler` in `pkg/http/registry_notifications.go`."""
    if one["action"] != "push" or not one["target"].get("tag"):
        return None
    return f"{one['request'].get('host', '')}/{one['target']['repository']}:{one['target']['tag']}"


def name_for_jenkins(one: dict[str, Any]) -> str | None:
    """The repository that Jenkins builds for: `DockerRegistryWebHookPayload` of its plugin dockerhub-notification."""
    if one["action"] != "push":
        return None
    parts = one["target"].get("url", "").split("/")
    return f"{parts[2]}/{one['target']['repository']}" if parts[-2] == "manifests" else None


@pytest.mark.parametrize("asker", [ASKER, None], ids=["a request", "a job, or for a project"])
def test_programs_made_for_others_find_the_image_that_was_pushed(asker: Asker | None) -> None:
    for told in (replace(PUSHED, asker=asker), event("tag", tag="v1", cause="rollback", media_type=MANIFEST)):
        one = envelope(distribution.message(told, public_url=URL))
        assert name_for_keel(one) == "registry.example.org/team/app:v1"
        assert name_for_jenkins(one) == "registry.example.org/team/app"
    blob = envelope(distribution.message(replace(event("push", size=3), asker=asker), public_url=URL))
    assert (name_for_keel(blob), name_for_jenkins(blob)) == (None, None)
    for action in ("delete", "untag", "purge", "mount"):
        one = envelope(distribution.message(event(action, tag="v1"), public_url=URL))
        assert (name_for_keel(one), name_for_jenkins(one)) == (None, None)


def test_blobs_are_octets_and_mounts_say_where_from() -> None:
    blob = envelope(distribution.message(event("push", size=3), public_url=URL))
    assert blob["target"] == {
        "mediaType": "application/octet-stream",
        "size": 3,
        "digest": DIGEST,
        "length": 3,
        "repository": "team/app",
        "url": f"{URL}/v2/team/app/blobs/{DIGEST}",
    }
    mount = envelope(distribution.message(event("mount", size=3, source="team/base"), public_url=""))
    assert mount["action"] == "mount"
    assert mount["target"]["fromRepository"] == "team/base"
    assert "url" not in mount["target"]


def test_deletions_have_a_digest_or_a_tag() -> None:
    deleted = envelope(distribution.message(event("delete", media_type=MANIFEST, size=428), public_url=URL))
    assert deleted["action"] == "delete"
    assert {key: deleted["target"][key] for key in ("digest", "repository")} == {
        "digest": DIGEST,
        "repository": "team/app",
    }
    assert "url" not in deleted["target"]
    untagged = envelope(distribution.message(event("untag", tag="v1"), public_url=URL))
    assert (untagged["action"], untagged["target"]) == ("delete", {"repository": "team/app", "tag": "v1"})


def test_a_tag_that_a_rollback_moved_was_pushed_and_one_of_a_push_is_told_once() -> None:
    moved = event("tag", tag="v1", media_type=MANIFEST, previous=OTHER, cause="rollback")
    assert envelope(distribution.message(moved, public_url=URL))["action"] == "push"
    plain = event("tag", tag="v1", media_type=MANIFEST)
    assert distribution.message(plain, public_url=URL) is None
    assert slack.message(plain) is None


@pytest.mark.parametrize("action", ["create", "quota", "quarantine", "recover", "something new"])
def test_distribution_has_no_words_for_the_rest(action: str) -> None:
    assert distribution.message(event(action), public_url=URL) is None


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_a_cloud_event_is_read_by_the_official_library(mode: cloud_events.Mode) -> None:
    found = cloud_events.message(PUSHED, public_url=URL, mode=mode)
    wanted = "application/json" if mode == "binary" else "application/cloudevents+json"
    assert found.headers["content-type"] == wanted
    assert ("ce-id" in found.headers) == (mode == "binary")
    read = from_http_event(HTTPMessage(dict(found.headers), found.body))
    assert read.get_specversion() == "1.0"
    assert (read.get_id(), read.get_type(), read.get_source()) == ("c0ffee-42", "stowage.push", URL)
    assert read.get_subject() == "team/app:v1"
    assert read.get_time() is not None
    data = read.get_data()
    assert isinstance(data, dict)
    assert (data["digest"], data["mediaType"], data["tag"]) == (DIGEST, MANIFEST, "v1")
    assert data["references"] == [{"digest": OTHER, "mediaType": "application/x", "size": 3}]
    assert data["request"]["agent"] == "docker/27"


def test_attributes_of_a_structured_event_are_as_the_specification_names_them() -> None:
    content = json.loads(cloud_events.message(PUSHED, public_url="", mode="structured").body)
    assert content.pop("data")["actor"] == "user:alice"
    assert content == {
        "specversion": "1.0",
        "id": "c0ffee-42",
        "source": "/stowage",
        "type": "stowage.push",
        "subject": "team/app:v1",
        "time": "2023-11-14T22:13:20.123456Z",
        "datacontenttype": "application/json",
    }


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (PUSHED, f"*user:alice* pushed `team/app:v1` (`{DIGEST[:19]}`)"),
        (event("push", tag="a", tags=("a", "b")), f"*user:alice* pushed `team/app:a` and the tags b (`{DIGEST[:19]}`)"),
        (event("delete"), f"*user:alice* deleted `team/app@{DIGEST}`"),
        (event("untag", tag="v1"), f"*user:alice* removed the tag `team/app:v1`, which named `{DIGEST[:19]}`"),
        (
            event("tag", tag="v1", cause="rollback"),
            f"*user:alice* moved `team/app:v1` to `{DIGEST[:19]}`, by rollback",
        ),
        (
            event("quota", digest=None, quota=QuotaShare("bytes", 80, 8, 10)),
            "a push to `team/app` brought its project to 80 % of the quota of bytes (8 of 10)",
        ),
    ],
)
def test_slack_is_told_in_one_line(told: Event, text: str) -> None:
    found = slack.message(told)
    assert found is not None
    assert found.headers == {"content-type": "application/json"}
    assert json.loads(found.body) == {"text": text}


def test_nothing_that_a_client_chose_means_anything_to_slack() -> None:
    found = slack.message(event("push", tag="v1", actor="<!channel> & `*x*`\n"))
    assert found is not None
    assert json.loads(found.body)["text"].startswith("*&lt;!channel&gt; &amp;   x   * pushed")


@pytest.mark.parametrize("format_", ["distribution", "cloudevents", "slack"])
def test_every_format_has_a_message_that_only_tries_and_words_for_what_it_can(format_: Format) -> None:
    endpoint = Endpoint(1, "one", "", URL, format_, Options(), Secrets())
    for action in (*ACTIONS, PING):
        found = message_for(endpoint, event(action), public_url=URL)
        assert found is None or json.loads(found.body)
    assert message_for(endpoint, event(PING), public_url=URL) is not None


def test_times_are_utc_to_the_microsecond() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(AT) == "2023-11-14T22:13:20.123456Z"


@pytest.mark.parametrize("format_", ["distribution", "cloudevents"])
def test_those_of_a_project_are_not_told_where_somebody_is(format_: Format) -> None:
    for project, told in (("", True), ("team", False)):
        found = message_for(Endpoint(1, "one", project, URL, format_, Options(), Secrets()), PUSHED, public_url=URL)
        assert found is not None
        assert (b"192.0.2.7" in found.body) is told


@pytest.mark.parametrize("format_", ["distribution", "cloudevents"])
def test_those_of_a_project_are_not_told_of_repositories_of_others(format_: Format) -> None:
    for project, source, told in (("", "secret/app", True), ("team", "secret/app", False), ("team", "team/base", True)):
        endpoint = Endpoint(1, "one", project, URL, format_, Options(), Secrets())
        found = message_for(endpoint, event("mount", size=3, source=source), public_url=URL)
        assert found is not None
        assert (source.encode() in found.body) == told
