import base64
import gzip
import threading
import time
from collections.abc import Iterator

import pytest

from conformance.check import Outcome
from conformance.client import LARGEST_ANSWER, LONGEST_WAIT, PATIENCE, Client, ClientError, Credentials, add_params
from conformance.runner import run_one, select
from conformance.trial import Names
from tests.unit.conformance.serving import PASSWORD, USER, Asking, basic, serving
from tests.unit.conformance.tiny import Answer, Request, Tiny

CREDENTIALS = Credentials(USER, PASSWORD)


def stream() -> Iterator[bytes]:
    yield b"one "
    yield b"two"


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_checks_pass_on_a_registry_that_asks_for_credentials(scheme: str) -> None:
    asking = Asking(scheme, Tiny())
    with serving(asking) as url, Client(url, CREDENTIALS) as client:
        for name in ("pulling-manifests/get-by-tag", "pushing-a-blob-in-chunks/streamed-patch", "*/mount"):
            [result] = [run_one(one, client, Names("test")) for one in select([name])]
            assert result.outcome is Outcome.PASS, result.message
    assert (scheme == "bearer") == bool(asking.scopes)


def test_a_token_is_fetched_once_for_each_method_and_repository() -> None:
    asking = Asking("bearer", Tiny())
    with serving(asking) as url, Client(url, CREDENTIALS) as client:
        for repository in ("a", "b/c", "a"):
            for path in ("tags/list", "manifests/v1"):
                assert client.request("GET", f"/v2/{repository}/{path}").status_code == 404
    assert asking.scopes == ["repository:a:pull", "repository:b/c:pull"]


def test_basic_credentials_are_shown_only_once_they_were_asked_for() -> None:
    asking = Asking("basic", Tiny())
    with serving(asking) as url, Client(url, CREDENTIALS) as client:
        assert client.request("GET", "/v2/").status_code == 200
        assert client.request("GET", "/v2/").status_code == 200
    assert asking.seen == [None, basic(USER, PASSWORD), basic(USER, PASSWORD)]


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_streamed_body_is_sent_again_after_a_401(scheme: str) -> None:
    bodies = []

    class Noting(Tiny):
        def handle(self, request: Request) -> Answer:
            bodies.append(request.body)
            return Answer(200)

    with serving(Asking(scheme, Noting())) as url, Client(url, CREDENTIALS) as client:
        assert client.request("PATCH", "/v2/a/blobs/uploads/b", body=stream).status_code == 200
    assert bodies == [b"one two"]


def test_wrong_credentials_are_tried_once_and_the_401_is_given_back() -> None:
    asking = Asking("basic", Tiny())
    with serving(asking) as url, Client(url, Credentials(USER, "wrong")) as client:
        assert client.request("GET", "/v2/").status_code == 401
    assert len(asking.seen) == 2


@pytest.mark.parametrize("answer", [Answer(500), Answer(200, {}, b"[]"), Answer(200, {}, b'{"token":7}')])
def test_a_realm_that_gives_no_token_is_an_error(answer: Answer) -> None:
    asking = Asking("bearer", Tiny(), answer=answer)
    expected = pytest.raises(ClientError, match=f"no token from /token: it answered {answer.status}")
    with serving(asking) as url, Client(url, CREDENTIALS) as client, expected:
        client.request("GET", "/v2/")


def test_an_access_token_is_taken_where_there_is_no_token() -> None:
    seen = []

    def handle(request: Request) -> Answer:
        if request.path == "/token":
            return Answer(200, {}, b'{"access_token":"abc"}')
        seen.append(request.headers.get("authorization"))
        return Answer(401, {"WWW-Authenticate": 'Bearer realm="/token"'}) if seen[-1] is None else Answer(200)

    with serving(handle) as url, Client(url) as client:
        assert client.request("GET", "/v2/").status_code == 200
    assert seen == [None, "Bearer abc"]


def test_credentials_do_not_leave_for_another_host() -> None:
    seen: dict[str, str | None] = {}
    lock = threading.Lock()

    def elsewhere(request: Request) -> Answer:
        with lock:
            seen[request.path] = request.headers.get("authorization")
        return Answer(401, {"WWW-Authenticate": 'Basic realm="mine"'}, b"")

    with serving(elsewhere) as other:
        moved = Answer(307, {"Location": f"{other}/redirected"})

        def here(request: Request) -> Answer:
            if request.headers.get("authorization") is None:
                return Answer(401, {"WWW-Authenticate": 'Basic realm="ours"'})
            return moved

        with serving(here) as url, Client(url, CREDENTIALS) as client:
            assert client.request("GET", "/v2/").status_code == 401
            assert client.request("PUT", f"{other}/absolute", body=b"x").status_code == 401
    assert seen == {"/redirected": None, "/absolute": None}


def test_what_is_kept_of_a_request_holds_no_secret() -> None:
    with serving(Asking("bearer", Tiny())) as url, Client(url, CREDENTIALS) as client:
        client.request("GET", "/v2/", params=[("state", "hidden"), ("digest", "sha256:1"), ("n", "1")])
        assert [one.line for one in client.exchanges] == [
            "GET /v2/?state=...&digest=sha256:1&n=1 -> 401",
            "GET /token?service=...&scope=... -> 200",
            "GET /v2/?state=...&digest=sha256:1&n=1 -> 200",
        ]
        token = base64.b64encode(b"registry:catalog:*").decode()
        assert not [one for one in (PASSWORD, CREDENTIALS.basic(), token) if one in repr(client.exchanges)]
        client.forget()
        assert client.exchanges == []
    assert PASSWORD not in repr(CREDENTIALS)


def test_a_connection_that_fails_is_a_client_error() -> None:
    with serving(lambda request: None) as url, Client(url) as client:
        with pytest.raises(ClientError, match="GET /v2/: "):
            client.request("GET", "/v2/")
        assert [one.line for one in client.exchanges] == ["GET /v2/ -> RemoteProtocolError"]
    with Client(url) as client, pytest.raises(ClientError):
        client.request("GET", "/v2/")  # nothing listens any more


def test_no_token_is_asked_of_a_realm_without_tls_when_the_registry_has_it() -> None:
    with Client("https://127.0.0.1:1", CREDENTIALS) as client, pytest.raises(ClientError, match="without TLS"):
        client._fetch_token({"realm": "http://127.0.0.1:1/token"})


def test_default_headers_can_be_left_out_and_sent_several_times() -> None:
    seen = []

    def handle(request: Request) -> Answer:
        seen.append(request.headers.get("accept"))
        return Answer(200)

    with serving(handle) as url, Client(url) as client:
        client.request("GET", "/v2/")
        client.request("GET", "/v2/", without=["Accept"])
        client.request("GET", "/v2/", headers=[("Accept", "a/b"), ("Accept", "c/d")])
    assert seen[:2] == ["*/*", None]
    assert seen[2] in ("a/b", "c/d")


def test_parameters_are_added_to_those_that_are_there() -> None:
    given = "http://r/v2/a/blobs/uploads/1?_state=a%2Bb%3D"
    assert add_params(given, [("digest", "sha256:0")]) == given + "&digest=sha256:0"
    assert add_params("http://r/v2/", [("tag", "a b&c")]) == "http://r/v2/?tag=a%20b%26c"
    assert add_params(given, []) == given


def test_a_request_is_sent_again_after_429_as_late_as_it_says() -> None:
    answers = [Answer(429, {"Retry-After": "0"}), Answer(429, {"Retry-After": "soon"}), Answer(200, {}, b"done")]

    with serving(lambda request: answers.pop(0)) as url, Client(url) as client:
        assert client.request("GET", "/v2/").content == b"done"
        assert (client.observed.answers, client.observed.throttled, client.observed.unexplained) == (3, 2, 0)


def test_waiting_because_of_429_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with serving(lambda request: Answer(429, {"Retry-After": "9" * 400})) as url, Client(url) as client:
        assert client.request("GET", "/v2/").status_code == 429
        assert client.request("GET", "/v2/").status_code == 429
    assert waited == [LONGEST_WAIT] * int(PATIENCE / LONGEST_WAIT)


def test_redirects_are_followed_and_come_to_an_end() -> None:
    def handle(request: Request) -> Answer:
        left = int(request.path.rpartition("/")[2])
        return Answer(307, {"Location": str(left - 1)}, b"elsewhere") if left else Answer(200, {}, b"there")

    with serving(handle) as url, Client(url) as client:
        response = client.request("GET", "/v2/2")
        assert (response.content, [one.status_code for one in response.history]) == (b"there", [307, 307])
        assert [one.line for one in client.exchanges] == ["GET /v2/2 -> 307", "GET /v2/1 -> 307", "GET /v2/0 -> 200"]
        with pytest.raises(ClientError, match="more than 10 redirects"):
            client.request("GET", "/v2/11")


@pytest.mark.parametrize("location", ["http://[", "nonsense:", "http://\x00/", "http://a b:c/"])
def test_a_location_that_is_no_url_is_a_client_error(location: str) -> None:
    with serving(lambda request: Answer(307, {"Location": location})) as url, Client(url) as client:
        with pytest.raises(ClientError):
            client.request("GET", "/v2/")
        with pytest.raises(ClientError):
            client.request("GET", location)


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_without_an_end_is_not_read_to_its_end(packed: bool) -> None:
    """Neither bytes that never end, nor a few that stand for many."""
    half = bytes(LARGEST_ANSWER // 2 + 1)
    body, headers = (gzip.compress(half * 2), {"Content-Encoding": "gzip"}) if packed else (half * 2, {})
    with serving(lambda request: Answer(200, headers, body)) as url, Client(url) as client:
        with pytest.raises(ClientError, match=f"longer than {LARGEST_ANSWER} bytes"):
            client.request("GET", "/v2/")
        assert client.request("HEAD", "/v2/").status_code == 200


def test_tokens_nested_without_end_are_no_tokens() -> None:
    asking = Asking("bearer", Tiny(), answer=Answer(200, {}, b"[" * 200_000))
    with serving(asking) as url, Client(url) as client, pytest.raises(ClientError, match="no token"):
        client.request("GET", "/v2/")
