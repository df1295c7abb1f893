"""Logging in with what people use: right and wrong passwords, tokens that end, anonymous pulls, through nginx too."""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from auth.roles import EDITOR, VIEWER
from tests.clients.adapters import Client
from tests.clients.charts import push_chart
from tests.clients.engines import Ctr
from tests.clients.logins import Account, apart
from tests.clients.tools import Tool
from tests.packaging.nginx import Nginx
from tests.support.certificates import Certificate, make_certificate
from tests.support.images import Image
from tests.support.moments import moment
from tests.support.people import ALICE, BOB, PROJECT, People, challenge_of, settings_for
from tests.support.server import Server

_CLIENTS = ["podman", "docker", "skopeo", "crane"]
_ASK_AT_ONCE = ["podman", "docker", "skopeo"]
_PUBLIC = "published"

NewAccount = Callable[..., Account]


@pytest.fixture(params=_CLIENTS)
def some_client(request: pytest.FixtureRequest) -> Client:
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.fixture
def account(some_client: Client, tmp_path: Path) -> NewAccount:
    """Gives a client to somebody else each time."""
    count = iter(range(100))
    return lambda *access: Account(some_client, tmp_path / f"account-{next(count)}", *access)


@pytest.fixture
def reference(guarded: Server, repository: str) -> str:
    return f"{guarded.address}/{PROJECT}/{repository.rpartition('/')[2]}:v1"


@pytest.fixture(scope="session")
def public(guarded: Server, people: People) -> str:
    """A project from which everybody may pull."""
    people.add_project(_PUBLIC)
    people.grant(VIEWER, "system:anonymous", _PUBLIC)
    people.grant(EDITOR, "user:alice", _PUBLIC)
    return _PUBLIC


def test_people_push_and_pull_what_they_may(account: NewAccount, guarded: Server, reference: str, image: Image) -> None:
    alice, bob, nobody = account(), account(), account()
    alice.login(guarded.address, ALICE)
    bob.login(guarded.address, BOB)
    alice.client.load(image, reference)
    bob.refused(*bob.client.push_command(reference))
    nobody.refused(*nobody.client.push_command(reference))
    alice.client.push(reference)
    alice.client.remove(reference)
    nobody.refused(*nobody.client.pull_command(reference))
    bob.client.pull(reference)
    bob.client.look(reference).is_same_as(image)
    bob.client.remove(reference)


@pytest.mark.parametrize("some_client", ["skopeo", "crane"], indirect=True)
def test_people_pull_what_was_where_they_may_pull(
    account: NewAccount, guarded: Server, reference: str, image: Image
) -> None:
    """With tokens that clients ask for by the name that they pull."""
    alice, bob, nobody = account(), account(), account()
    alice.login(guarded.address, ALICE)
    bob.login(guarded.address, BOB)
    alice.client.load(image, reference)
    alice.client.push(reference)
    host, _, name = reference.partition("/")
    past = f"{host}/{moment()}/{name}"
    bob.client.pull(past)
    bob.client.look(past).is_same_as(image)
    bob.client.remove(past)
    nobody.refused(*nobody.client.pull_command(past))


def test_a_wrong_password_is_told_to_be_wrong(account: NewAccount, guarded: Server, reference: str) -> None:
    mistaken = account()
    if mistaken.client.name in _ASK_AT_ONCE:
        said = mistaken.fail_to_login(guarded.address, ("alice", "wrong")).both.lower()
        assert "unauthorized" in said or "invalid username/password" in said, said
    else:
        mistaken.login(guarded.address, ("alice", "wrong"))
        mistaken.refused(*mistaken.client.pull_command(reference))


def test_a_service_account_works_until_its_token_is_revoked(
    account: NewAccount, guarded: Server, people: People, reference: str, image: Image
) -> None:
    builder, name = account(), f"builder-{reference.rpartition('-')[2].partition(':')[0]}"
    people.service_account(name)
    secret, credential = people.token(name)
    builder.login(guarded.address, ("whatever", secret))
    builder.client.load(image, reference)
    builder.client.push(reference)
    people.revoke_token(credential)
    builder.refused(*builder.client.push_command(reference))
    builder.client.remove(reference)
    ended, credential = people.token(name)
    people.end_token(credential)
    late = account()
    if late.client.name in _ASK_AT_ONCE:
        late.fail_to_login(guarded.address, ("whatever", ended))


def test_nobody_needs_to_log_in_where_everybody_may_pull(
    account: NewAccount, guarded: Server, public: str, reference: str, image: Image
) -> None:
    reference = reference.replace(f"/{PROJECT}/", f"/{public}/")
    alice, nobody = account(), account()
    alice.login(guarded.address, ALICE)
    alice.client.load(image, reference)
    nobody.refused(*nobody.client.push_command(reference))
    alice.client.push(reference)
    alice.client.remove(reference)
    nobody.client.pull(reference)
    nobody.client.look(reference).is_same_as(image)
    nobody.client.remove(reference)


def test_helm_logs_in_and_out(helm: Tool, guarded: Server, reference: str, tmp_path: Path) -> None:
    alice, nobody = apart(helm, tmp_path / "alice"), apart(helm, tmp_path / "nobody")
    login = ("registry", "login", guarded.address, "--plain-http", "--username", "alice", "--password")
    nobody.fail(*login, "wrong")
    alice.run(*login, ALICE[1])
    target = reference.rpartition(":")[0]
    package = push_chart(alice, tmp_path / "chart", "1.0.0", target).read_bytes()
    chart = f"oci://{target}/sample"
    assert "401" in nobody.fail("pull", chart, "--plain-http", "--version", "1.0.0").both
    (tmp_path / "back").mkdir()
    alice.run("pull", chart, "--plain-http", "--version", "1.0.0", "--destination", tmp_path / "back")
    [back] = (tmp_path / "back").iterdir()
    assert back.read_bytes() == package
    alice.run("registry", "logout", guarded.address)
    alice.fail("pull", chart, "--plain-http", "--version", "1.0.0", "--destination", tmp_path / "back")


def test_containerd_shows_a_name_and_a_password(ctr: Ctr, guarded: Server, reference: str, image: Image) -> None:
    alice, bob = (Ctr(ctr.tool, ctr.folder, ("--plain-http", "--user", ":".join(who))) for who in (ALICE, BOB))
    alice.load(image, reference)
    bob.tool.fail(*bob.push_command(reference))
    alice.push(reference)
    alice.remove(reference)
    ctr.tool.fail(*ctr.pull_command(reference))
    bob.pull(reference)
    bob.look(reference).is_same_as(image)
    bob.remove(reference)


def test_docker_keeps_no_password(docker: Client, guarded: Server, tmp_path: Path) -> None:
    """It gets a token in its place, which can be revoked."""
    account = Account(docker, tmp_path / "docker")
    account.login(guarded.address, ALICE)
    [kept] = json.loads((tmp_path / "docker" / "config.json").read_text())["auths"].values()
    assert kept["identitytoken"].startswith("stw_")
    assert ALICE[1] not in str(kept)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls") / "trusted")


@pytest.fixture(scope="module")
def front(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx with TLS before a server that believes it."""
    folder = tmp_path_factory.mktemp("front")
    settings = {**settings_for({}), "STOWAGE_HTTP__TRUSTED_PROXIES": "127.0.0.1"}
    with Server(folder / "server", settings) as server, Nginx(folder / "nginx", server.port, certificate) as nginx:
        People(server).populate()
        yield nginx


def test_behind_nginx_the_token_server_is_where_clients_came_to(
    account: NewAccount, front: Nginx, certificate: Certificate, repository: str, image: Image
) -> None:
    reference = f"{front.address}/{PROJECT}/{repository.rpartition('/')[2]}:v1"
    alice, bob = (account(("--cert-dir", str(certificate.folder))) for _ in range(2))
    for one, who in ((alice, ALICE), (bob, BOB)):
        one.client = one.client.trusting(front.address, certificate.certificate)
        one.login(front.address, who)
    alice.client.load(image, reference)
    bob.refused(*bob.client.push_command(reference))
    alice.client.push(reference)
    alice.client.remove(reference)
    bob.client.pull(reference)
    bob.client.look(reference).is_same_as(image)
    bob.client.remove(reference)
    assert any(" /token?" in line or " /token " in line for line in front.requests())


def test_behind_nginx_all_that_belongs_to_logging_in_is_there(front: Nginx, certificate: Certificate) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate.certificate))
    with httpx.Client(base_url=f"https://{front.address}", verify=trusting, trust_env=False) as client:
        _, told = challenge_of(client.get("/v2/", headers={"X-Forwarded-Host": "evil.example.org"}))
        assert told["realm"] == f"https://{front.address}/token"
        assert client.get("/token/keys").json()["keys"]
        assert client.get("/api/v1/me", auth=ALICE).json()["principal"] == "user:alice"
        assert "nginx" not in client.get("/auth/login").text
        assert "nginx" in client.get("/api/v2/me").text
