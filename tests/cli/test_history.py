"""`stowage history`, `rollback`, `undelete` and `purge`, beside a running server."""

import json
from typing import Any

import httpx
import pytest

from tests.cli.commands import printed, refused, stowage
from tests.factories import (
    OCI_INDEX,
    OCI_MANIFEST,
    PushedImage,
    descriptor,
    digest_of,
    index_manifest,
    pull_blob,
    pull_manifest,
    push_image,
    push_manifest,
    put_manifest,
)
from tests.support.moments import moment
from tests.support.server import Connect, Server, ServerFactory

pytestmark = pytest.mark.usefixtures("repository")


@pytest.fixture
def data(server: Server) -> tuple[str, str]:
    return ("--data", str(server.data))


def entries(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed(*arguments, "--json").splitlines()]


def tags_of(client: httpx.Client, repository: str) -> list[str]:
    found: list[str] = client.get(f"/v2/{repository}/tags/list").json()["tags"]
    return found


def test_history_says_who_made_a_tag_what(client: httpx.Client, repository: str, data: tuple[str, str]) -> None:
    first, second = push_image(client, repository, "latest"), push_image(client, repository, "latest")
    push_manifest(client, repository, first.manifest, "old")
    assert client.delete(f"/v2/{repository}/manifests/old").status_code == 202
    newest, oldest = entries("history", f"{repository}:latest", *data)
    assert (newest["digest"], newest["endedAt"], newest["endedBy"]) == (second.digest, None, None)
    assert (oldest["digest"], oldest["endedAt"]) == (first.digest, newest["startedAt"])
    assert (oldest["cause"], oldest["endedCause"]) == ("push", "push")
    assert oldest["startedFrom"] == oldest["endedFrom"] == newest["startedFrom"] == "127.0.0.1"
    assert oldest["startedBy"] == "system:anonymous" and oldest["content"] == "there"
    assert [one["tag"] for one in entries("history", repository, *data)] == ["old", "latest", "latest"]
    [gone] = entries("history", repository, "--removed", *data)
    assert (gone["tag"], gone["endedCause"]) == ("old", "delete")
    [line] = printed("history", repository, "--limit", "1", *data).splitlines()[1:]
    assert "old" in line and first.digest in line
    index = index_manifest([], annotations={"quay.expires-after": "1h"})
    assert put_manifest(client, repository, "brief", index, OCI_INDEX).status_code == 201
    [brief] = entries("history", f"{repository}:brief", *data)
    head, row = printed("history", f"{repository}:brief", *data).splitlines()
    assert row[head.index("EXPIRES") :].startswith(brief["expiresAt"])
    assert "no repository" in refused("history", f"{repository}/none", *data)
    refused("history", f"{repository}:latest", "--deleted", *data, status=2)


def test_a_bad_push_is_undone_with_one_command(client: httpx.Client, repository: str, data: tuple[str, str]) -> None:
    good, bad = push_image(client, repository, "latest"), push_image(client, repository, "latest")
    assert good.digest in printed("rollback", f"{repository}:latest", "--to", "previous", "--dry-run", *data)
    assert pull_manifest(client, repository, "latest") == bad.manifest
    text = printed("rollback", f"{repository}:latest", "--to", "previous", *data)
    assert pull_manifest(client, repository, "latest") == good.manifest
    assert entries("history", f"{repository}:latest", *data)[0]["cause"] == "rollback"
    other = push_image(client, repository, "other")
    undo = text.splitlines()[-1].removeprefix("to undo it: stowage ").split()
    printed(*undo, *data)
    assert pull_manifest(client, repository, "latest") == bad.manifest
    assert pull_manifest(client, repository, "other") == other.manifest  # that is nobody's mistake
    told = [json.loads(line) for line in printed("audit", "list", "--limit", "2", "--json", *data).splitlines()]
    assert [(one["action"], one["detail"]["tag"]) for one in told] == [("rollback", "latest")] * 2  # and no requests
    printed("rollback", f"{repository}:latest", "--to", good.digest, *data)
    assert pull_manifest(client, repository, "latest") == good.manifest
    assert printed("rollback", f"{repository}:latest", "--to", good.digest, *data) == "nothing is to be changed"


def test_a_repository_is_as_it_was(client: httpx.Client, repository: str, data: tuple[str, str]) -> None:
    """Tags that moved, were made and were deleted, and manifests that were deleted."""
    first, other = push_image(client, repository, "latest"), push_image(client, repository, "other")
    then = moment()
    push_image(client, repository, "latest")
    push_image(client, repository, "new")
    assert client.delete(f"/v2/{repository}/manifests/{other.digest}").status_code == 202
    assert client.delete(f"/v2/{repository}/manifests/{first.digest}").status_code == 202
    at = f"{then[3:11]}T{then[12:18]}Z"
    done = json.loads(printed("rollback", repository, "--to", at, "--json", *data))
    [found] = done["repositories"]
    assert {(one["tag"], one["after"], one["undeleted"]) for one in found["changes"]} == {
        ("latest", first.digest, True),
        ("new", None, False),
        ("other", other.digest, True),
    }
    assert tags_of(client, repository) == ["latest", "other"]
    for image in (first, other):
        assert pull_manifest(client, repository, image.digest) == image.manifest
        assert [pull_blob(client, repository, digest_of(one)) for one in image.blobs] == list(image.blobs)
    printed("rollback", repository, "--to", found["before"], *data)
    assert tags_of(client, repository) == ["latest", "new"]
    text = printed("rollback", repository, "--to", at, "--tags", "oth*", *data)
    assert text.endswith(" --tags 'oth*'")
    assert tags_of(client, repository) == ["latest", "new", "other"]


def test_a_project_is_as_it_was(client: httpx.Client, repository: str, data: tuple[str, str]) -> None:
    project = repository.partition("/")[2]
    names = [project, f"{project}/a", f"{project}/b/c"]
    first = {name: push_image(client, name, "latest") for name in names}
    push_image(client, f"{project}-other/a", "latest")
    then = moment()
    for name in names[:2]:
        push_image(client, name, "latest")
    push_image(client, f"{project}/made-since", "latest")
    kept = push_image(client, f"{project}-other/a", "latest")
    at = f"{then[3:11]}T{then[12:18]}Z"
    shown = printed("rollback", "--project", project, "--to", at, "--dry-run", *data)
    assert names[2] not in shown and "made-since" in shown
    printed("rollback", "--project", project, "--to", at, *data)
    assert {name: pull_manifest(client, name, "latest") for name in names} == {
        name: image.manifest for name, image in first.items()
    }
    assert tags_of(client, f"{project}/made-since") == []
    assert pull_manifest(client, f"{project}-other/a", "latest") == kept.manifest
    assert "no repositories" in refused("rollback", "--project", f"{project}-none", "--to", at, *data)


def test_what_can_not_be_done_leaves_all_as_it_is(client: httpx.Client, repository: str, data: tuple[str, str]) -> None:
    gone, kept = push_image(client, repository, "gone"), push_image(client, repository, "kept")
    then = moment()
    push_image(client, repository, "kept")
    assert client.delete(f"/v2/{repository}/manifests/{gone.digest}").status_code == 202
    printed("purge", f"{repository}@{gone.digest}", *data)
    at = f"{then[3:11]}T{then[12:18]}Z"
    assert gone.digest in refused("rollback", repository, "--to", at, *data)
    tried = stowage("rollback", repository, "--to", at, "--dry-run", *data)
    assert tried.returncode == 1 and "--partial" in tried.stderr and kept.digest in tried.stdout
    assert pull_manifest(client, repository, "kept") != kept.manifest
    text = printed("rollback", repository, "--to", at, "--partial", *data)
    assert f"{repository}:gone stays as it is" in text
    assert pull_manifest(client, repository, "kept") == kept.manifest
    assert tags_of(client, repository) == ["kept"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "2199-01-01"), "has not come yet"),
        (("--to", "15d"), "history.window"),
        (("--to", "sometime"), "expected a time"),
        (("--to", "previous"), "for one tag"),
        (("--to", "sha256:12"), "digest"),
    ],
)
def test_what_is_wrong_with_a_moment_is_said(
    client: httpx.Client, repository: str, data: tuple[str, str], arguments: tuple[str, str], words: str
) -> None:
    push_image(client, repository, "latest")
    assert words in refused("rollback", repository, *arguments, *data)


def test_a_deleted_image_is_there_again(client: httpx.Client, repository: str, data: tuple[str, str]) -> None:
    image = push_image(client, repository, "one")
    index = index_manifest([descriptor(image.manifest, OCI_MANIFEST)])
    push_manifest(client, repository, index, "index", media_type=OCI_INDEX)
    push_manifest(client, repository, index, "moved", media_type=OCI_INDEX)
    for digest in (digest_of(index), image.digest):
        assert client.delete(f"/v2/{repository}/manifests/{digest}").status_code == 202
    later = push_image(client, repository, "moved")
    last, first = entries("history", repository, "--deleted", *data)
    assert (first["digest"], first["tags"], first["deletedBy"]) == (
        digest_of(index),
        ["index", "moved"],
        "system:anonymous",
    )
    assert (last["digest"], last["tags"]) == (image.digest, ["one"])
    assert first["until"] > first["deletedAt"]
    text = printed("undelete", f"{repository}@{digest_of(index)}", *data)
    assert "named by index" in text and "the tag moved stays as it is" in text
    assert pull_manifest(client, repository, "index") == index
    assert pull_manifest(client, repository, image.digest) == image.manifest
    assert pull_manifest(client, repository, "moved") == later.manifest
    assert tags_of(client, repository) == ["index", "moved"]
    assert "was not deleted" in printed("undelete", f"{repository}@{digest_of(index)}", *data)
    assert "no manifest" in refused("undelete", f"{repository}@{digest_of(b'nothing')}", *data)


def files_of(server: Server) -> set[str]:
    """Objects; copies of the database are in the storage, too."""
    found = {one.name for one in (server.data / "storage").rglob("*") if one.is_file()}
    return {one for one in found if not one.startswith("stowage-")}


def test_a_leaked_secret_is_gone_with_the_next_collection(fresh_server: ServerFactory, connect: Connect) -> None:
    """Whatever the grace and the window; what other repositories have stays, and is named."""
    server = fresh_server(STOWAGE_BACKUP__ENABLED="false")
    client, data = connect(server), ("--data", str(server.data))
    empty = files_of(server)
    kept = push_image(client, "team/kept", "latest")
    shared = push_image(client, "team/app", "latest", layers=2)
    index = index_manifest([descriptor(shared.manifest, OCI_MANIFEST)])
    push_manifest(client, "team/app", index, "index", media_type=OCI_INDEX)
    copy = json.loads(printed("backup", "--json", *data))["name"]  # for whose sake bytes stay otherwise
    secret, other = (digest_of(one) for one in shared.layers)
    mounted = client.post("/v2/team/copy/blobs/uploads/", params={"mount": other, "from": "team/app"})
    assert mounted.status_code == 201
    assert "the tag latest names it" in refused("purge", f"team/app@{shared.digest}", *data)
    assert client.delete("/v2/team/app/manifests/latest").status_code == 202
    assert f"the index {digest_of(index)} lists it" in refused("purge", f"team/app@{shared.digest}", *data)
    assert "refers to it" in refused("purge", f"team/app@{secret}", *data)
    assert client.delete(f"/v2/team/app/manifests/{digest_of(index)}").status_code == 202
    assert "was deleted and can be had back" in refused("purge", f"team/app@{shared.digest}", *data)
    done = json.loads(printed("purge", f"team/app@{digest_of(index)}", "--json", *data))
    assert done["manifests"] == [digest_of(index), shared.digest]
    assert [one["name"] for one in done["copies"]] == [copy]
    assert {one["digest"]: one["repositories"] for one in done["blobs"]} == {
        digest_of(shared.config): [],
        secret: [],
        other: ["team/copy"],
    }
    for path in (f"manifests/{shared.digest}", f"blobs/{secret}", f"blobs/{other}"):
        assert client.get(f"/v2/team/app/{path}").status_code == 404
        assert client.get(f"/v2/{moment()}/team/app/{path}").status_code == 404
    assert "was collected or purged" in refused("undelete", f"team/app@{shared.digest}", *data)
    printed("gc", "--now", *data)
    assert len(files_of(server) - empty) == len(kept.blobs) + 1
    assert pull_blob(client, "team/copy", other) == shared.layers[1]
    [told] = [json.loads(line) for line in printed("audit", "list", "--action", "purge", "--json", *data).splitlines()]
    assert told["detail"]["digest"] == digest_of(index) and told["principal"] == "system:operator"
    assert [one["content"] for one in entries("history", "team/app:latest", *data)] == ["gone"]


def test_a_blob_that_no_manifest_names_is_purged(client: httpx.Client, repository: str, data: tuple[str, str]) -> None:
    image: PushedImage = push_image(client, repository, "latest")
    secret = digest_of(image.layers[0])
    assert client.delete(f"/v2/{repository}/manifests/{image.digest}").status_code == 202
    assert "had back" in refused("purge", f"{repository}@{secret}", *data)
    printed("purge", f"{repository}@{image.digest}", *data)
    assert "no manifest and no blob" in refused("purge", f"{repository}@{secret}", *data)
