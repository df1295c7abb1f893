"""People and workloads whom others know, at a running server."""

import re
import time

import httpx
import pytest

from auth.directory import PAUSE_S
from auth.roles import EDITOR
from tests.clients.tools import Tool, find_tool
from tests.factories import assert_error, pull_manifest, push_image
from tests.support.directory import PASSWORDS, Slapd
from tests.support.issuer import Issuer
from tests.support.people import ALICE, PROJECT, People, asking, bearer_of, token_for
from tests.support.provider import Provider
from tests.support.served import eventually
from tests.support.server import Server, new_client

ERIN = ("erin", PASSWORDS["erin"])
"""In the directory, and there in the group `builders`."""
FRANK = ("frank", PASSWORDS["frank"])
"""In the directory, and in no group."""


def in_log(server: Server, text: str) -> bool:
    return text in server.log_file.read_text()


def status(server: Server, who: tuple[str, str]) -> int:
    with asking(server, who) as client:
        return client.get("/v2/").status_code


def browse(server: Server, provider: Provider, name: str) -> httpx.Response:
    """Log in at the provider as somebody, and return the page that is shown at the end."""
    with new_client(server) as browser:
        sent = browser.get("/auth/login")
        assert sent.status_code == 303
        return browser.get(provider.log_in(sent.headers["location"], name))


def secret_on(page: httpx.Response) -> str:
    found = re.search(r"<pre>(stw_[a-z2-7]{32})</pre>", page.text)
    assert found, page.text
    return found[1]


def test_somebody_of_the_directory_does_what_the_group_may(believing: Server, mine: str) -> None:
    with asking(believing, ERIN) as erin:
        push_image(erin, mine, "1")
    with asking(believing, bearer=bearer_of(believing, ERIN, f"repository:{mine}:pull")) as erin:
        assert pull_manifest(erin, mine, "1")
    with asking(believing, FRANK) as frank:
        assert frank.get("/v2/").status_code == 200
        assert_error(frank.get(f"/v2/{mine}/manifests/1"), 403, "DENIED")
    assert believing.sql("SELECT source FROM users WHERE name IN ('erin', 'frank')") == [("ldap",), ("ldap",)]


def test_a_wrong_password_is_the_same_as_a_name_that_nobody_has(believing: Server) -> None:
    answers = []
    for who in (("erin", "wrong"), ("nobody", "wrong"), ("erin", ""), ("erin)(uid=*", ERIN[1]), ("ERIN*", ERIN[1])):
        with asking(believing, who) as client:
            answers.append(client.get("/v2/"))
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}


def test_however_a_name_is_written_it_is_one_user(believing: Server) -> None:
    assert status(believing, ("ERIN", ERIN[1])) == 200
    assert believing.sql("SELECT count(*) FROM users WHERE lower(name) = 'erin'") == [("1",)]


def test_whom_the_database_knows_the_directory_is_not_asked_for(believing: Server) -> None:
    assert status(believing, ALICE) == 200
    assert status(believing, ("alice", PASSWORDS["alice"])) == 401


def test_who_is_disabled_here_is_out_whatever_the_directory_says(believing: Server, people: People) -> None:
    assert status(believing, FRANK) == 200
    people.disable("frank")
    try:
        assert status(believing, FRANK) == 401
    finally:
        people.disable("frank", again=True)
    assert status(believing, FRANK) == 200


def test_nobody_of_the_directory_gets_what_outlasts_their_password(believing: Server) -> None:
    with asking(believing, ERIN) as erin:
        assert "refresh_token" not in token_for(erin, offline_token="true", client_id="docker")
    with asking(believing, ALICE) as alice:
        assert "refresh_token" in token_for(alice, offline_token="true", client_id="docker")


def test_a_directory_that_is_away_is_no_wrong_password(believing: Server, slapd: Slapd) -> None:
    slapd.stop()
    try:
        with asking(believing, (FRANK[0], "not remembered")) as client:
            answer = client.get("/v2/")
            assert_error(answer, 503, "TOOMANYREQUESTS")
            assert int(answer.headers["retry-after"]) > 0
            assert "www-authenticate" not in answer.headers
        assert status(believing, ALICE) == 200
    finally:
        slapd.start()
    time.sleep(PAUSE_S)  # each worker leaves the directory alone for that long, and only one of them may answer below
    eventually(lambda: status(believing, FRANK) == 200)
    assert in_log(believing, "the directory can't be asked")


def test_a_token_of_the_cluster_is_a_service_account_whatever_the_name(
    believing: Server, issuer: Issuer, mine: str
) -> None:
    token = issuer.token()
    with asking(believing, ("whoever", token)) as runner:
        push_image(runner, mine, "1")
        assert "refresh_token" not in token_for(runner, offline_token="true", client_id="docker")
    with asking(believing, bearer=bearer_of(believing, ("x", token), f"repository:{mine}:pull")) as runner:
        assert pull_manifest(runner, mine, "1")
    log = believing.log_file.read_text()
    assert f"serviceaccount:{PROJECT}/builder" in log
    assert token not in log and token.rpartition(".")[2] not in log


def test_a_token_that_does_not_count_lets_nobody_in(believing: Server, issuer: Issuer) -> None:
    with Issuer() as stranger:
        for token in (
            issuer.token(exp=int(time.time()) - 120),
            issuer.token(aud="https://kubernetes.default.svc"),
            issuer.token(**{"kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "runner"}}}),
            stranger.token(),
            stranger.token(iss=issuer.url),
            stranger.token({"jwk": stranger.signer.jwk}, iss=issuer.url),
            issuer.token().rpartition(".")[0] + ".",
        ):
            assert status(believing, ("whoever", token)) == 401
        assert stranger.asked == []


def test_an_account_that_loses_its_right_loses_it_at_once(
    believing: Server, issuer: Issuer, people: People, mine: str
) -> None:
    with asking(believing, ("whoever", issuer.token())) as runner:
        push_image(runner, mine, "1")
        people.revoke(EDITOR, f"serviceaccount:{PROJECT}/builder")
        try:
            time.sleep(2.1)
            assert_error(runner.get(f"/v2/{mine}/manifests/1"), 403, "DENIED")
        finally:
            people.grant(EDITOR, f"serviceaccount:{PROJECT}/builder")


def test_somebody_logs_in_by_browser_and_then_by_command_line(believing: Server, provider: Provider, mine: str) -> None:
    page = browse(believing, provider, "gina")
    assert page.status_code == 200
    assert f"docker login --username gina --password-stdin {believing.address}" in page.text
    secret = secret_on(page)
    with asking(believing, ("gina", secret)) as gina:
        push_image(gina, mine, "1")
    with asking(believing, bearer=bearer_of(believing, ("gina", secret), f"repository:{mine}:pull")) as gina:
        assert pull_manifest(gina, mine, "1")
    log = believing.log_file.read_text()
    assert secret not in log
    assert "code=" not in log.replace("code=***", "")


def test_who_has_a_name_of_somebody_else_here_gets_nothing(believing: Server, provider: Provider) -> None:
    page = browse(believing, provider, "alice")
    assert (page.status_code, "stw_" in page.text) == (403, False)
    assert "belongs to somebody else here" in page.text


@pytest.mark.parametrize("client", ["skopeo", "podman"])
def test_clients_log_in_with_what_others_gave_them(
    believing: Server, issuer: Issuer, provider: Provider, client: str
) -> None:
    program = Tool(find_tool(client))
    folder = believing.log_file.parent / f"{client}-auth.json"
    options = ("--tls-verify=false", f"--authfile={folder}")
    shown = [ERIN, ("token", issuer.token()), ("gina", secret_on(browse(believing, provider, "gina")))]
    for name, secret in shown:
        program.run("login", *options, "--username", name, "--password", secret, believing.address)
    program.fail("login", *options, "--username", "erin", "--password", "wrong", believing.address)
