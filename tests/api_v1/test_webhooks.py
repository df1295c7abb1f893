"""Webhooks by the API: set without being shown, tried, read and told again, and never where they must not go."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.api_v1.callers import PASSWORD, made, new, shown
from tests.factories import OCI_MANIFEST, image_manifest, push_blob
from tests.support.people import ADMIN, asking, settings_for
from tests.support.receiver import Receiver
from tests.support.scrape import Scrape
from tests.support.served import eventually
from tests.support.server import Server, ServerFactory

HERE = {"STOWAGE_DELIVERY__NETWORKS": "127.0.0.0/8", "STOWAGE_DELIVERY__MOST": "3"}
SECRETS = {"secret": "hunter2", "bearer": "hunter3", "headers": {"X-Key": "hunter4"}}


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may tell this machine."""
    with Server(tmp_path_factory.mktemp("telling"), {**settings_for({}), **HERE}, ("--workers", "2")) as running:
        with asking(running, ADMIN) as root:
            root.base_url = root.base_url.join("/api/v1/")
            made(root, "/users", {"name": "boss", "password": PASSWORD})
            for project in ("team", "other"):
                made(root, "/projects", {"name": project})
            made(root, "/projects/team/grants", {"role": "registry-admin", "subject": "user:boss"})
        yield running


@pytest.fixture
def there(telling: Server) -> Iterator[httpx.Client]:
    """Its system admin. What was made is removed afterwards."""
    with asking(telling, ADMIN) as client:
        client.base_url = client.base_url.join("/api/v1/")
        yield client
        for where in ("/webhooks", "/projects/team/webhooks"):
            for one in shown(client, where)["items"]:
                assert client.delete(f"{where}/{one['name']}").status_code == 204


def push(server: Server, repository: str, tag: str) -> None:
    with asking(server, ADMIN) as client:
        push_blob(client, repository, b"content")
        manifest = image_manifest(b"content", [b"content"], annotations={"tag": tag})
        path = f"/v2/{repository}/manifests/{tag}"
        assert client.put(path, content=manifest, headers={"Content-Type": OCI_MANIFEST}).status_code == 201


def test_what_was_set_is_shown_without_what_is_secret(there: httpx.Client) -> None:
    url = "http://127.0.0.1:9/hunter5?hunter6"
    sent = {"name": "ci", "url": url, "format": "cloudevents", "tags": ["v*"], **SECRETS}
    answer = there.post("/webhooks", json=sent)
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith("/api/v1/webhooks/ci")
    found = answer.json()
    assert (found["address"], found["signed"], found["authorization"]) == ("http://127.0.0.1:9", True, "bearer")
    assert (found["headers"], found["secret"], found["createdBy"]) == (["X-Key"], None, "user:admin")
    audit = there.get("/audit", params={"action": "webhook.add"})
    for one in (answer, there.get("/webhooks"), there.get("/webhooks/ci"), audit):
        assert "ci" in one.text
        assert "hunter" not in one.text
    assert audit.json()["items"][0]["address"] == "127.0.0.1"


def test_a_secret_that_is_made_is_shown_once(there: httpx.Client) -> None:
    made_one = made(there, "/webhooks", {"name": "ci", "url": "https://192.0.2.1/"})
    assert made_one["secret"].startswith("whsec_")
    assert "secret" not in shown(there, "/webhooks/ci")
    assert made_one["secret"] not in there.get("/webhooks/ci").text


def test_what_is_left_out_of_a_change_stays_and_the_rest_counts(there: httpx.Client, telling: Server) -> None:
    with Receiver() as receiver:
        made(there, "/webhooks", {"name": "ci", "url": f"{receiver.url}/one", "timeoutSeconds": 7, **SECRETS})
        changed = there.patch("/webhooks/ci", json={"repositories": ["team/**"], "bearer": "", "basic": "me:hunter7"})
        assert changed.status_code == 200
        found = changed.json()
        assert (found["repositories"], found["timeoutSeconds"], found["authorization"]) == (["team/**"], 7, "basic")
        push(telling, "other/app", "v1")
        push(telling, "team/app", "v1")
        receiver.wait_for(lambda: len(receiver.taken) > 0)
    (message,) = receiver.taken
    assert (message.path, message.repository) == ("/one", "team/app")
    assert message.headers["authorization"] == "Basic bWU6aHVudGVyNw=="
    assert message.headers["x-key"] == "hunter4"
    stale = there.patch("/webhooks/ci", json={"blobs": True}, headers={"If-Match": '"stale"'})
    assert stale.status_code == 412


def test_what_is_sent_with_messages_goes_nowhere_else_by_somebody_who_was_not_told_it(there: httpx.Client) -> None:
    made(there, "/webhooks", {"name": "ci", "url": "https://192.0.2.1/one", **SECRETS})
    assert there.patch("/webhooks/ci", json={"url": "https://192.0.2.1/two"}).status_code == 200
    for elsewhere in ("https://192.0.2.2/two", "https://192.0.2.1:444/two", "http://127.0.0.1/two"):
        refused = there.patch("/webhooks/ci", json={"url": elsewhere, "bearer": "hunter7"})
        assert refused.status_code == 422
        assert "headers has to be said again" in refused.text
        assert "hunter" not in refused.text
    said = {"url": "https://192.0.2.2/two", "bearer": "", "headers": {"X-Key": "hunter4"}}
    assert there.patch("/webhooks/ci", json=said).json()["address"] == "https://192.0.2.2"


def test_one_that_is_made_paused_is_told_nothing(there: httpx.Client, telling: Server) -> None:
    with Receiver() as receiver:
        found = made(there, "/webhooks", {"name": "ci", "url": f"{receiver.url}/one", "paused": True})
        assert found["pausedFor"] == "by user:admin"
        made(there, "/webhooks", {"name": "other", "url": f"{receiver.url}/other"})
        push(telling, "team/app", "v4")
        receiver.wait_for(lambda: len(receiver.taken) > 0)
    assert {message.path for message in receiver.taken} == {"/other"}
    assert shown(there, "/audit?action=webhook.pause")["items"][0]["detail"]["webhook"] == "ci"


def test_a_project_is_told_of_itself_alone_and_its_admin_sees_that(there: httpx.Client, telling: Server) -> None:
    with Receiver() as receiver, asking(telling, ("boss", PASSWORD)) as boss:
        boss.base_url = boss.base_url.join("/api/v1/projects/team/")
        assert boss.post("/webhooks", json={"name": "ci", "url": receiver.url}).status_code == 201
        push(telling, "other/app", "v2")
        push(telling, "team/app", "v2")
        receiver.wait_for(lambda: len(receiver.taken) > 0)
        assert {message.repository for message in receiver.taken} == {"team/app"}
        wait_until(lambda: boss.get("/webhooks/ci/deliveries").json()["items"])
        (one,) = boss.get("/webhooks/ci/deliveries", params={"state": "delivered"}).json()["items"]
        assert (one["id"], one["subject"], one["status"]) == (receiver.taken[0].id, "team/app:v2", 204)
        assert boss.get("/webhooks/ci/deliveries", params={"state": "waiting"}).json()["items"] == []
        again = boss.post("/webhooks/ci/replay", json={"deliveries": [one["id"]]})
        assert again.json() == {"replayed": 1}
        receiver.wait_for(lambda: len(receiver.taken) == 2)
        assert len({message.id for message in receiver.taken}) == 1
        assert boss.patch("/webhooks/ci", json={"paused": True}).json()["pausedFor"] == "by user:boss"
        assert boss.patch("/webhooks/ci", json={"paused": False}).json()["pausedAt"] is None


def wait_until(condition: Callable[[], object]) -> None:
    eventually(lambda: bool(condition()))


def test_a_try_says_what_came_of_it(there: httpx.Client) -> None:
    with Receiver(lambda message: 200 if message.content["events"][0]["action"] == "ping" else 500) as receiver:
        made(there, "/webhooks", {"name": "ci", "url": receiver.url})
        tried = there.post("/webhooks/ci/test", json={}).json()
        assert (tried["delivered"], tried["status"], tried["error"]) == (True, 200, None)
        assert receiver.taken[0].headers["webhook-signature"].startswith("v1,")
        receiver.answer = lambda message: (302, {"location": "http://127.0.0.1:9/"})
        tried = there.post("/webhooks/ci/test", json={}).json()
        assert (tried["delivered"], tried["status"]) == (False, 302)
        assert "redirects" in tried["error"]
    tried = there.post("/webhooks/ci/test", json={}).json()
    assert (tried["delivered"], tried["status"]) == (False, None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "https://me:hunter2@x/"}, "url"),
        ({"url": "https://x/#y"}, "url"),
        ({"url": "https://x/hunter2 y"}, "url"),
        ({"url": ""}, "url"),
        ({"secret": "whsec_hunter2!"}, "secret"),
        ({"headers": {"Host": "hunter2"}}, "headers"),
        ({"headers": {"X-A": "hunter2\r\nb: c"}}, "headers"),
        ({"bearer": "hunter2\n"}, "bearer"),
        ({"basic": "me:hunter2\u00e9"}, "basic"),
        ({"bearer": "hunter2", "basic": "a:hunter2"}, "not both"),
        ({"basic": "hunter2"}, "NAME:PASSWORD"),
        ({"ca": "hunter2"}, "PEM"),
        ({"ca": "hunter2 \u00e9"}, "PEM"),
        ({"events": ["pushed"]}, "events"),
        ({"backoffSeconds": 100, "backoffCapSeconds": 1}, "cap"),
        ({"name": "A B"}, "name"),
        ({"invented": 1}, "invented"),
    ],
)
def test_what_can_not_be_is_refused_without_quoting_it(there: httpx.Client, wrong: dict[str, Any], said: str) -> None:
    answer = there.post("/webhooks", json={"name": "ci", "url": "https://192.0.2.1/", **wrong})
    assert answer.status_code == 422
    assert said in answer.text
    assert "hunter2" not in answer.text
    assert there.get("/webhooks/ci").status_code == 404


def test_there_is_one_of_a_name_and_not_too_many(there: httpx.Client) -> None:
    for number in range(3):
        made(there, "/webhooks", {"name": f"ci-{number}", "url": "https://192.0.2.1/"})
    assert there.post("/webhooks", json={"name": "ci-0", "url": "https://192.0.2.1/"}).status_code == 409
    assert "delivery.most" in there.post("/webhooks", json={"name": "ci-3", "url": "https://192.0.2.1/"}).text
    names = [one["name"] for one in shown(there, "/webhooks?limit=2")["items"]]
    assert names == ["ci-0", "ci-1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "https://[::1]:{port}/",
        "https://[::ffff:127.0.0.1]:{port}/",
        "https://2130706433:{port}/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
    ],
)
def test_addresses_within_the_network_are_not_for_those_who_use_the_registry(root: httpx.Client, url: str) -> None:
    """On a server whose settings list no network: made they can be, since a name may lead anywhere later."""
    with Receiver() as receiver:
        name = new("hook")
        made(root, "/webhooks", {"name": name, "url": url.format(port=receiver.port)})
        tried = root.post(f"/webhooks/{name}/test", json={}).json()
    assert (tried["delivered"], tried["status"]) == (False, None)
    assert "not for everybody" in tried["error"]
    assert receiver.received == []
    assert root.post("/webhooks", json={"name": new("hook"), "url": f"http://{receiver.port}/"}).status_code == 422


def test_those_of_the_settings_are_shown_and_paused_but_not_changed(fresh_server: ServerFactory) -> None:
    with Receiver() as receiver:
        webhooks = [{"name": "ops", "url": f"{receiver.url}/hunter2", "allow_private": True, "secret": "hunter3"}]
        server = fresh_server(**settings_for({}), STOWAGE_WEBHOOKS=json.dumps(webhooks))
        with asking(server, ADMIN) as client:
            client.base_url = client.base_url.join("/api/v1/")
            wait_until(lambda: client.get("/webhooks/ops").status_code == 200)
            found = shown(client, "/webhooks/ops")
            assert (found["fromSettings"], found["createdBy"], found["signed"]) == (True, "settings", True)
            assert "hunter" not in client.get("/webhooks/ops").text
            assert client.patch("/webhooks/ops", json={"blobs": True}).status_code == 409
            assert client.delete("/webhooks/ops").status_code == 409
            assert client.post("/webhooks/ops/test", json={}).json()["delivered"]
            assert client.patch("/webhooks/ops", json={"paused": True}).status_code == 200
        assert "hunter" not in server.log_tail()
        eventually(lambda: Scrape.of(server.url).value("webhook_paused", webhook="ops") == 1)
