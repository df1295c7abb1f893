from collections.abc import Iterator

from conformance.client import Client
from conformance.content import blob, image, index
from conformance.leftovers import Removal
from conformance.trial import Names, Trial, manifest_path
from tests.unit.conformance.serving import serving
from tests.unit.conformance.tiny import Answer, Request, Tiny


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


def remove(client: Client) -> Removal:
    return client.leftovers.remove(lambda method, url: client.request(method, url).status_code, quiet)


def test_sessions_go_first_and_an_index_before_what_it_names() -> None:
    registry, asked = Tiny(), []

    def noting(request: Request) -> Answer:
        asked.append((request.method, request.path))
        return registry.handle(request)

    with serving(noting) as url, Client(url) as client:
        trial = Trial(client, Names("test"), "one")
        repository = trial.repository()
        child = image()
        parent = trial.publish(repository, index([child]), "v1", "v2")
        trial.start_upload(repository).chunk(b"some", 0)
        assert len(client.leftovers) == 5
        asked.clear()
        assert remove(client) == Removal(5, 0)
        assert len(client.leftovers) == 0
    assert [method for method, _ in asked] == ["DELETE"] * 5
    assert "/uploads/" in asked[0][1]
    assert [path for _, path in asked[1:3]] == [manifest_path(repository, one.digest) for one in (parent, child)]


def test_what_the_checks_deleted_themselves_is_not_deleted_again() -> None:
    with serving(Tiny().handle) as url, Client(url) as client:
        trial = Trial(client, Names("test"), "one")
        repository, content = trial.repository(), blob()
        trial.push_blob(repository, content)
        trial.delete(f"/v2/{repository}/blobs/{content.digest}")
        upload = trial.start_upload(repository)
        upload.cancel()
        assert len(client.leftovers) == 0


def test_blobs_stay_when_manifests_do() -> None:
    registry = Tiny()

    def refusing(request: Request) -> Answer:
        refused = request.method == "DELETE" and "/manifests/" in request.path
        return Answer(405) if refused else registry.handle(request)

    with serving(refusing) as url, Client(url) as client:
        trial = Trial(client, Names("test"), "one")
        trial.publish(trial.repository(), image())
        trial.publish(trial.repository(), image())
        assert remove(client) == Removal(0, 6, "DELETE of a manifest answered 405")


def test_one_that_can_not_be_removed_does_not_keep_the_others() -> None:
    registry = Tiny()

    def faults() -> Iterator[bool]:
        yield True
        while True:
            yield False

    fault = faults()

    def sometimes(request: Request) -> Answer:
        return Answer(500) if request.method == "DELETE" and next(fault) else registry.handle(request)

    with serving(sometimes) as url, Client(url) as client:
        trial = Trial(client, Names("test"), "one")
        trial.publish(trial.repository(), image())
        assert remove(client) == Removal(2, 1, "DELETE of a manifest answered 500")


def test_a_registry_that_is_gone_is_not_asked_again() -> None:
    with serving(Tiny().handle) as url, Client(url) as client:
        trial = Trial(client, Names("test"), "one")
        trial.publish(trial.repository(), image())
        asked = []

        def gone(method: str, url: str) -> None:
            asked.append((method, url))

        assert client.leftovers.remove(gone, quiet) == Removal(0, 3, "the registry did not answer")
        assert len(asked) == 1


def test_nobody_else_is_asked_to_delete_what_a_registry_names() -> None:
    elsewhere = Answer(202, {"Location": "http://127.0.0.2:1/v2/other/blobs/uploads/1"})
    with serving(lambda request: elsewhere) as url, Client(url) as client:
        client.request("POST", "/v2/a/blobs/uploads/", body=b"")
        assert len(client.leftovers) == 0
