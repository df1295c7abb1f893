"""The one way in which the registry asks an address that it was told of: guarded against being sent elsewhere.

A server that fetches what a setting, or somebody else's document, names can be made to speak with what only it reaches
(CWE-918). So where a URL leads is looked at (`auth.guard`), redirects are errors, and time and size are bounded.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import httpx

from auth.addresses import Address
from auth.errors import FetchRefused, SourceUnavailable
from auth.guard import Guard

_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "stowage"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: its status, its body, and for how many seconds it may be kept, by Cache-Control, or None."""

    status: int
    body: bytes
    max_age: int | None = None

    def document(self) -> dict[str, Any]:
        """Return the JSON object that the body is. Raises FetchRefused."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            raise FetchRefused("the answer is not JSON") from None
        if not isinstance(found, dict):
            raise FetchRefused("the answer is not a JSON object")
        return found


class Fetcher:
    """Asks. One for each setting that names an address.

    Args:
        private: addresses within this network, and this machine, are all right, and so is plain `http`.
        ca: PEM file with whom to trust beside nobody else; the system's when not given.
        timeout_s: from the question to the whole answer.
        max_size: most bytes of an answer.
    """

    def __init__(
        self, *, private: bool = False, ca: Path | None = None, timeout_s: float = 10.0, max_size: int = 1024 * 1024
    ) -> None:
        self.guard = Guard(private, ca=ca)
        self._timeout_s = timeout_s
        self._max_size = max_size

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Fetched:
        """GET a URL. The answer is one of 2xx.

        Raises:
            FetchRefused: the URL, where it leads, or the answer is not acceptable: too large, a redirect, a 4xx.
            SourceUnavailable: nobody answers in time, or with 5xx or 429.
        """
        return _wanted(await self._ask("GET", url, headers or {}, None), url)

    async def post(self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Fetched:
        """POST a form, and return the answer, which may be 4xx too. Raises as `get`."""
        answer = await self._ask("POST", url, headers or {}, form)
        return answer if 400 <= answer.status < 500 and answer.status != 429 else _wanted(answer, url)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None) -> Fetched:
        # A task of its own: timeouts need one, and a request that has not waited yet may have none.
        asking = self._ask_in_time(method, url, headers, form)
        return await asyncio.create_task(asking, name=f"{method} to another server")

    async def _ask_in_time(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> Fetched:
        parts = self.guard.parts(url)
        where = f"{parts.scheme}://{parts.netloc}"
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self.guard.addresses(parts)
                return await self._ask_first(method, parts, addresses, headers, form)
        except TimeoutError:
            raise SourceUnavailable(f"{where} did not answer within {self._timeout_s:g} s") from None
        except (UnicodeError, httpx.InvalidURL):
            raise FetchRefused(f"{where} with what follows is not a URL") from None
        except (httpx.HTTPError, OSError, ssl.SSLError) as error:
            raise SourceUnavailable(f"{where} can't be asked: {_reason(error)}") from None

    async def _ask_first(
        self,
        method: str,
        parts: SplitResult,
        addresses: list[Address],
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
    ) -> Fetched:
        """Ask the first of the addresses that takes a connection."""
        last = len(addresses) - 1
        patience_s = self._timeout_s / len(addresses)
        context = await asyncio.to_thread(self.guard.trusting)
        for number, address in enumerate(addresses):
            timeout = httpx.Timeout(self._timeout_s, connect=patience_s)
            async with httpx.AsyncClient(verify=context, trust_env=False, timeout=timeout) as client:
                # The name is kept for the certificate and for who answers; the connection is to the address.
                request = client.build_request(
                    method,
                    _at(parts, address),
                    headers={**_HEADERS, **headers, "host": parts.netloc},
                    data=form,
                    extensions={"sni_hostname": parts.hostname},
                )
                try:
                    answer = await client.send(request, stream=True, follow_redirects=False)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if number == last:
                        raise
                    continue
                try:
                    return Fetched(answer.status_code, await self._read(answer), _max_age(answer))
                finally:
                    await answer.aclose()
        raise AssertionError("the last address either answers or raises")

    async def _read(self, answer: httpx.Response) -> bytes:
        if answer.headers.get("content-encoding", "identity") != "identity":  # a little may unfold to very much
            raise FetchRefused("the answer is compressed, which nobody asked for")
        body = bytearray()
        async for part in answer.aiter_raw():
            body += part
            if len(body) > self._max_size:
                raise FetchRefused(f"the answer is larger than {self._max_size} bytes")
        return bytes(body)


def _at(parts: SplitResult, address: Address) -> str:
    host = f"[{address}]" if address.version == 6 else str(address)
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{host}{port}", fragment="").geturl()


def _wanted(answer: Fetched, url: str) -> Fetched:
    url = url.partition("?")[0]  # a question may hold what is no log's business
    if answer.status >= 500 or answer.status == 429:
        raise SourceUnavailable(f"{url} answers {answer.status}")
    if 300 <= answer.status < 400:
        raise FetchRefused(f"{url} answers {answer.status}: redirects are not followed, name where it leads")
    if not 200 <= answer.status < 300:
        raise FetchRefused(f"{url} answers {answer.status}")
    return answer


def _max_age(answer: httpx.Response) -> int | None:
    for part in answer.headers.get("cache-control", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "max-age" and value.isascii() and value.isdigit():
            return int(value[:9])
    return None


def _reason(error: Exception) -> str:
    """Say what went wrong. An error of TLS is inside of the one that httpx raises, and says more."""
    return str(error) or type(error).__name__
