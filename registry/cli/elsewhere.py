"""`/api/v1` of a server elsewhere, over HTTP. Imported by `registry.cli.where`, by commands that say --server."""

import ipaddress
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx

from registry import __version__
from registry.cli.client import Answer, Question, is_ours
from registry.cli.logins import Login, unknown_to
from registry.cli.options import fail
from registry.cli.rights import printable

_PREFIX = "/api/v1"
_NO_SUCH_PATH = "endpoint-unknown"
_CONNECT_S = 10.0
_ANSWER_S = 60.0


class Elsewhere:
    """Asks a server. Ends the command with why, where there is no answer of a Stowage.

    Args:
        url: as `parse_server` returns it.
        login: None if nothing says who asks: some servers ask nobody.
        ca: PEM file with whom to trust, instead of the system's.
    """

    is_here = False

    def __init__(self, url: SplitResult, login: Login | None, ca: Path | None) -> None:
        self._url = url
        self._shown = url.geturl()
        self._login = login
        is_secure = url.scheme == "https"
        self._client = httpx.Client(
            base_url=f"{self._shown}{_PREFIX}/",
            headers={
                **({} if login is None else {"authorization": login.header}),
                "content-type": "application/json",
                "user-agent": f"stowage/{__version__}",
            },
            verify=_context(ca) if is_secure else True,
            timeout=_timeout(_ANSWER_S),
            trust_env=is_secure,  # no proxy sees what is not encrypted
            follow_redirects=False,
        )

    @property
    def host(self) -> str | None:
        """The server's."""
        return self._url.netloc

    def ask(self, question: Question) -> Answer:
        """Return the answer."""
        try:
            found = self._client.request(
                question.method,
                question.path,
                params=list(question.query),
                content=None if question.content is None else json.dumps(question.content),
                timeout=_timeout(None if question.is_long else _ANSWER_S),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            fail(self._unreachable(error))
        except httpx.TransportError as error:
            doubt = "" if question.method == "GET" else ". What was to be changed may have been, or not: look"
            fail(f"{self._broken_off(error)}{doubt}")
        answer = Answer(
            found.status_code, found.headers.get("content-type", "").partition(";")[0].strip().lower(), found.content
        )
        if not is_ours(answer):
            fail(printable(self._foreign(found)))
        if answer.status >= 400:
            self._check(answer.status, found.json())
        return answer

    def _check(self, status: int, problem: Mapping[str, str]) -> None:
        """End the command if what the API refused has nothing to do with what was asked for."""
        if status == 401 and self._login is None:
            fail(unknown_to(self._url.netloc))
        if status == 401 and self._login is not None:
            fail(
                f"{self._shown} does not take the login from {self._login.source}: {printable(str(problem['detail']))}"
            )
        if problem["code"] == _NO_SUCH_PATH:
            fail(
                f"{self._shown} has no such thing: it asks nobody who they are, and has what is about people and "
                "rights with auth.mode: users alone; or it is of another version"
            )

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _unreachable(self, error: httpx.ConnectError | httpx.ConnectTimeout) -> str:
        if isinstance(error, httpx.ConnectTimeout):
            return f"{self._shown} can't be reached within {_CONNECT_S:.0f} s: is that its address?"
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                why = cause.verify_message.rstrip(".")
                return (
                    f"the certificate of {self._shown} is not to be trusted: {why}. If a CA of your own signed it, say "
                    "--ca-file FILE"
                )
            if isinstance(cause, ssl.SSLError):
                return f"no TLS with {self._shown}: {_reason(cause)}. If it speaks HTTP alone, say http://"
            if isinstance(cause, OSError) and cause.strerror:
                return f"{self._shown} can't be reached: {cause.strerror}"
        return f"{self._shown} can't be reached: {_sentence(str(error))}"

    def _broken_off(self, error: httpx.TransportError) -> str:
        if isinstance(error, httpx.TimeoutException):
            return f"{self._shown} does not answer within {_ANSWER_S:.0f} s"
        hint = ". If it speaks TLS, say https://" if self._url.scheme == "http" else ""
        why = next((one.strerror for one in _causes(error) if isinstance(one, OSError) and one.strerror), str(error))
        return f"{self._shown} gave no answer: {_sentence(why)}{hint}"

    def _foreign(self, found: httpx.Response) -> str:
        status = found.status_code
        if 300 <= status < 400:
            return f"{self._shown} sends on to {found.headers.get('location', 'nowhere')[:200]}: say that as --server"
        if status in {502, 503, 504}:
            return f"what is in front of {self._shown} answered {status}: the registry behind it is down, or slow"
        if status in {404, 405}:
            return (
                f"{self._shown} has no {_PREFIX}: it is no Stowage, or trusts another token server, or what is in "
                f"front of it does not pass {_PREFIX}/ on"
            )
        return f"{self._shown} answered {status}, and not as Stowage does: is that its address?"


def parse_server(text: str, *, insecure: bool) -> SplitResult:
    """Return a server's URL, `https` unless another scheme is said, or end the command: it can't be used.

    Args:
        insecure: plain HTTP may leave this machine.
    """
    url = host = None
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        host = url.hostname if url.port != 0 else None
    except ValueError:  # of the port, or of an address
        pass
    if url is None or not host or url.scheme not in {"http", "https"} or url.query or url.fragment:
        fail(f"--server: expected https://HOST or https://HOST:PORT, got {text.rpartition('@')[2][:200]!r}")
    if "@" in url.netloc:
        fail("--server: a login in the URL can be read by everybody here: see STOWAGE_LOGIN, --login-stdin")
    if url.scheme == "http" and not (insecure or _is_loopback(host)):
        fail(
            f"--server: http:// would show the login to everybody between here and {host}: say https://, or "
            "--insecure-http if they may see it"
        )
    return url._replace(path=url.path.rstrip("/").removesuffix(_PREFIX))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _context(ca: Path | None) -> ssl.SSLContext:
    """Return what a connection's TLS is made by: 1.2 or newer, certificates and names verified."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        fail(f"--ca-file: there are no certificates in {ca}, as PEM has them")
    except OSError as error:
        fail(f"--ca-file: {ca} can't be read: {error.strerror}")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _timeout(answer_s: float | None) -> httpx.Timeout:
    return httpx.Timeout(answer_s, connect=_CONNECT_S)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "the handshake failed").lower().replace("_", " ")


def _sentence(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")[:200]
