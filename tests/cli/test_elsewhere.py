"""Commands on a server elsewhere: who they say they are, whom they trust, and what they say without an answer."""

import base64
import io
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.cli.commands import printed, refused, stowage
from tests.cli.ways import Way, elsewhere
from tests.factories import push_image
from tests.support.certificates import Certificate, make_certificate
from tests.support.people import ADMIN, settings_for
from tests.support.ports import free_port
from tests.support.served import eventually
from tests.support.server import Server, ServerFactory, new_client

LOGIN = ":".join(ADMIN)
Say = Callable[[str], None]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests has logged in nowhere."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.fixture
def way(served: Server) -> Way:
    return elsewhere(served)


@pytest.fixture
def url(way: Way) -> str:
    return way.settings["STOWAGE_SERVER"]


def entry(login: str) -> dict[str, str]:
    return {"auth": base64.b64encode(login.encode()).decode()}


def test_who_asks_is_in_the_environment_on_standard_input_or_in_a_file(
    url: str, say: Say, tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = url.removeprefix("http://")
    command = ("role", "list", "--server", url)
    text = refused(*command)
    assert f"podman login {host}" in text and "STOWAGE_LOGIN" in text and "--login-stdin" in text
    assert "registry-admin" in printed(*command, STOWAGE_LOGIN=LOGIN)
    say(f"{LOGIN}\n")
    assert "registry-admin" in printed(*command, "--login-stdin", STOWAGE_LOGIN="a wrong:one")
    token = way.run("token", "create", "user:admin")
    assert "registry-admin" in printed(*command, STOWAGE_LOGIN=token)

    content = json.dumps({"auths": {"elsewhere": entry("x:y"), host: entry(f"any:{token}")}})
    for place, variable, value in (
        ("auth.json", "REGISTRY_AUTH_FILE", "auth.json"),
        ("run/containers/auth.json", "XDG_RUNTIME_DIR", "run"),
        ("home/.config/containers/auth.json", "HOME", "home"),
        ("home/.docker/config.json", "HOME", "home"),
        ("docker/config.json", "DOCKER_CONFIG", "docker"),
    ):
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        with monkeypatch.context() as patched:
            patched.setenv(variable, str(tmp_path / value))
            assert "registry-admin" in printed(*command)
        file.unlink()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"auths": {"HOST": {**entry("admin:"), "identitytoken": "x"}}}, "no good here"),
        ({"auths": {"HOST": {}}, "credsStore": "desktop"}, "a helper keeps"),
        ({"credHelpers": {"HOST": "pass"}}, "a helper keeps"),
        ({"auths": {"HOST": {"auth": "!"}}}, "can't be read"),
        ({"auths": {"HOST": {"auth": base64.b64encode(b"\xff").decode()}}}, "can't be read"),
        ({"auths": {"other": entry("x:y")}}, "nothing says who you are"),
        ({"auths": []}, "nothing says who you are"),
        ([], "nothing says who you are"),
        ("{", "not JSON"),
    ],
)
def test_a_file_that_does_not_say_who_asks(url: str, tmp_path: Path, content: object, said: str) -> None:
    text = content if isinstance(content, str) and content == "{" else json.dumps(content)
    file = tmp_path / "auth.json"
    file.write_text(str(text).replace("HOST", url.removeprefix("http://")))
    assert said in refused("role", "list", "--server", url, REGISTRY_AUTH_FILE=str(file))


def test_a_login_is_refused_and_not_shown(url: str, say: Say, way: Way) -> None:
    command = ("user", "list", "--server", url)
    text = refused(*command, STOWAGE_LOGIN="admin:a wrong password")
    assert "does not take the login from $STOWAGE_LOGIN" in text and "wrong password" not in text
    for wrong in ("admin", "admin:", ":x", ""):
        say(wrong)
        assert "expected NAME:PASSWORD" in refused(*command, "--login-stdin")
    token = way.run("token", "create", "user:admin", "--scope", "repository:team/app:pull")
    assert "no good here" in refused(*command, STOWAGE_LOGIN=token)


def test_the_login_comes_first_on_standard_input(url: str, say: Say, way: Way) -> None:
    name = way.new("alice")
    say(f"{LOGIN}\na password of hers\n")
    printed("user", "add", name, "--password-stdin", "--server", url, "--login-stdin")
    other = f"{name}:a password of hers"
    assert "only system admins" in refused("user", "list", "--server", url, STOWAGE_LOGIN=other)
    assert printed("token", "create", f"user:{name}", "--server", url, STOWAGE_LOGIN=other).startswith("stw_")
    assert (
        len(json.loads(printed("token", "list", f"user:{name}", "--json", "--server", url, STOWAGE_LOGIN=other))) == 1
    )
    assert "only system admins" in refused("token", "create", "user:admin", "--server", url, STOWAGE_LOGIN=other)
    done = stowage("can-i", "push", "team/app", "--server", url, STOWAGE_LOGIN=other)
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "no: no grant gives push there")
    assert "may not audit the whole registry" in refused("audit", "list", "--server", url, STOWAGE_LOGIN=other)


def test_here_and_elsewhere_are_told_apart(url: str, new_data: Path, tmp_path: Path) -> None:
    data = str(shutil.copytree(new_data, tmp_path / "data"))
    assert "say one of them" in refused("role", "list", "--server", url, "--data", data, status=2)
    for alone in ("--insecure-http", "--login-stdin", "--ca-file=x"):
        assert "go with --server" in refused("role", "list", alone, "--data", data, status=2)
    assert printed("user", "list", "--json", "--data", data, STOWAGE_SERVER=url) == "[]"  # what is said wins
    assert "say --as" in refused("can-i", "push", "team/app", "--data", data, status=2)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("http://registry.example.org", "--insecure-http"),
        ("https://admin:secret@registry.example.org", "STOWAGE_LOGIN"),
        ("ftp://registry.example.org", "expected https://HOST"),
        ("https://", "expected https://HOST"),
        ("https://host:99999", "expected https://HOST"),
        ("https://host/?a=b", "expected https://HOST"),
        ("https://[::1", "expected https://HOST"),
    ],
)
def test_a_server_s_url_that_is_none(server: str, said: str) -> None:
    text = refused("role", "list", "--server", server, STOWAGE_LOGIN=LOGIN)
    assert said in text and "secret" not in text


def test_nobody_is_there() -> None:
    server = f"http://127.0.0.1:{free_port()}"
    assert f"{server} can't be reached: Connection refused" in refused(
        "role", "list", "--server", server, STOWAGE_LOGIN=LOGIN
    )
    text = refused("role", "list", "--server", "https://name.invalid", STOWAGE_LOGIN=LOGIN)
    assert "https://name.invalid can't be reached" in text


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str]) -> Iterator[str]:
    """Run a server that gives the same answer to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, b"<html>", {"Content-Type": "text/html"}, "not as Stowage does"),
        (200, b"{", {"Content-Type": "application/json"}, "not as Stowage does"),
        (404, b"not found", {"Content-Type": "text/plain"}, "has no /api/v1"),
        (404, b"{}", {"Content-Type": "application/problem+json"}, "has no /api/v1"),
        (401, b"", {"WWW-Authenticate": "Basic"}, "not as Stowage does"),
        (302, b"", {"Location": "https://elsewhere.example.org/login"}, "sends on to https://elsewhere.example.org"),
        (502, b"", {}, "the registry behind it is down"),
        (
            403,
            b'{"code": "denied", "detail": "\\u001b[2Jno\\nline"}',
            {"Content-Type": "application/problem+json"},
            "?[2Jno?line",
        ),
    ],
)
def test_an_answer_that_is_not_of_a_stowage(status: int, body: bytes, headers: dict[str, str], said: str) -> None:
    with answering(status, body, headers) as server:
        text = refused("role", "list", "--server", server, STOWAGE_LOGIN=LOGIN)
    assert said in text and len(text.splitlines()) == 1


def test_a_server_without_logins(fresh_server: ServerFactory) -> None:
    server = fresh_server("--workers", "1")
    url = f"http://{server.host}:{server.port}"
    assert "auth.mode: users" in refused("role", "list", "--server", url, STOWAGE_LOGIN=LOGIN)
    with new_client(server) as client:
        image = push_image(client, "app", "v1")
    for login in ({}, {"STOWAGE_LOGIN": LOGIN}):  # who has one for another server need not take it away
        assert image.digest in printed("history", "app:v1", "--server", url, **login)
        eventually(lambda login=login: "app:v1" in printed("events", "--server", url, **login))  # type: ignore[misc]  # a lambda's default


def test_a_connection_that_is_closed_without_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close() -> None:
            connection, _ = listening.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=close)
        thread.start()
        server = f"http://127.0.0.1:{listening.getsockname()[1]}"
        text = refused("role", "list", "--server", server, STOWAGE_LOGIN=LOGIN)
        thread.join()
    assert "https://" in text and len(text.splitlines()) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls") / "trusted")


@pytest.fixture(scope="module")
def secure(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with TLS."""
    settings = {
        **settings_for({}),
        "STOWAGE_HTTP__TLS__CERTIFICATE": str(certificate.certificate),
        "STOWAGE_HTTP__TLS__KEY": str(certificate.key),
    }
    with Server(tmp_path_factory.mktemp("secure"), settings, ("--workers", "1")) as running:
        yield f"{running.host}:{running.port}"


def test_tls(secure: str, certificate: Certificate, tmp_path: Path, url: str) -> None:
    ca = ("--ca-file", str(certificate.certificate))
    assert "registry-admin" in printed("role", "list", "--server", f"https://{secure}", *ca, STOWAGE_LOGIN=LOGIN)
    assert "registry-admin" in printed("role", "list", "--server", secure, *ca, STOWAGE_LOGIN=LOGIN)
    text = refused("role", "list", "--server", secure, STOWAGE_LOGIN=LOGIN)
    assert "is not to be trusted: self-signed certificate" in text and "--ca-file" in text
    other = make_certificate(tmp_path / "other")
    assert "is not to be trusted" in refused(
        "role", "list", "--server", secure, "--ca-file", str(other.certificate), STOWAGE_LOGIN=LOGIN
    )
    assert "can't be read: No such file" in refused(
        "role", "list", "--server", secure, "--ca-file", "/none", STOWAGE_LOGIN=LOGIN
    )
    assert "no certificates" in refused(
        "role", "list", "--server", secure, "--ca-file", str(certificate.key), STOWAGE_LOGIN=LOGIN
    )
    assert "https://" in refused("role", "list", "--server", f"http://{secure}", STOWAGE_LOGIN=LOGIN)
    assert "speaks HTTP alone" in refused(
        "role", "list", "--server", url.replace("http:", "https:"), STOWAGE_LOGIN=LOGIN
    )


def test_everything_says_in_its_help_how_to_ask_a_server() -> None:
    for command in (("user", "add"), ("grant",), ("quota", "set"), ("audit", "list"), ("pull-secret",), ("can-i",)):
        text = printed(*command, "--help")
        assert "--server https://registry.example.org" in text
        for option in ("--ca-file", "--login-stdin", "--insecure-http", "--data", "STOWAGE_SERVER"):
            assert option in text
