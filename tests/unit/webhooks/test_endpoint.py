"""Which events an endpoint is told of."""

import json
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from registry import event as events
from registry import webhook_settings
from registry.api import webhook_models
from registry.event import Event
from registry.webhook_settings import WebhookSettings
from registry.webhooks import endpoint
from registry.webhooks.endpoint import Endpoint, Options, Secrets

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def told(project: str = "", /, **options: Any) -> Endpoint:
    return Endpoint(1, "one", project, "https://x", "distribution", Options(**options), Secrets())


def push(repository: str = "team/app", **more: Any) -> Event:
    facts: dict[str, Any] = {"media_type": MANIFEST, "tag": "v1", **more}
    return Event(1, 1, "e", 0, facts.pop("action", "push"), repository, **facts)


@pytest.mark.parametrize(
    ("options", "event", "wanted"),
    [
        ({}, push(), True),
        ({}, push(action="pull"), False),
        ({"events": ("pull",)}, push(action="pull"), True),
        ({"events": ("delete",)}, push(), False),
        ({}, push(media_type=None), False),
        ({}, push(action="delete", media_type=None, tag=None), False),
        ({}, push(action="untag", media_type=None), True),
        ({"blobs": True}, push(media_type=None), True),
        ({"events": ("mount",)}, push(action="mount", media_type=None), True),
        ({"repositories": ("team/*",)}, push("team/app"), True),
        ({"repositories": ("team/*",)}, push("team/app/web"), False),
        ({"repositories": ("other", "team/**")}, push("team/app/web"), True),
        ({"tags": ("v*",)}, push(), True),
        ({"tags": ("w*",)}, push(), False),
        ({"tags": ("w*",)}, push(tag="v1", tags=("v1", "w1")), True),
        ({"tags": ("*",)}, push(tag=None), False),
        ({"media_types": ("application/vnd.oci.**",)}, push(), True),
        ({"media_types": ("application/vnd.oci.*/*",)}, push(), False),
        ({"media_types": ("*/*",)}, push(action="create", media_type=None), False),
    ],
)
def test_filters(options: dict[str, Any], event: Event, wanted: bool) -> None:
    assert told(**options).wants(event) is wanted


def test_an_endpoint_of_a_project_is_told_of_no_other() -> None:
    assert told("team").wants(push("team"))
    assert told("team").wants(push("team/app/web"))
    assert not told("team").wants(push("team-b/app"))


def test_options_come_back_from_the_database_and_what_is_new_is_left_out() -> None:
    options = Options(mode="binary", events=("push",), repositories=("a", "b"), timeout=3, blobs=True)
    assert Options.of({**json.loads(json.dumps(options.as_json())), "invented": 1}) == options


def test_names_that_are_written_down_twice_are_the_same() -> None:
    assert get_args(webhook_settings.Action) == events.ACTIONS == get_args(webhook_models.ActionName)
    assert webhook_settings.DEFAULT == endpoint.DEFAULT_EVENTS
    assert get_args(webhook_models.FormatName) == get_args(endpoint.Format)
    defaults = WebhookSettings(name="one", url=SecretStr("https://x"))
    for name, value in Options().as_json().items():
        assert name == "ca" or getattr(defaults, name) == value
