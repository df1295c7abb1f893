"""People log in at an identity provider, a real one: npm's oidc-provider."""

import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from auth.fetch import Fetcher
from auth.htpasswd import Htpasswd
from auth.openid import LOGIN_S, OpenId
from auth.openid import Provider as AsConfigured
from auth.passwords import Passwords
from auth.secret_tokens import digest_of
from auth.sources import PasswordSource
from registry.db import audit, authority, credentials, users
from registry.db.audit import Filter
from registry.db.connection import Database, Transaction
from registry.db.credentials import Kind
from registry.db.sqlite import SqliteDatabase
from registry.http.rates import Rates
from registry.http.sign_in import SignIn
from registry.services.arrivals import Arrivals
from registry.services.audit import Auditor
from registry.services.credentials import Credentials
from tests.support.people import write_htpasswd
from tests.support.ports import free_port
from tests.support.provider import CLIENT_SECRET, Provider

pytestmark = pytest.mark.anyio

PUBLIC = "http://registry.test:5000"
CALLBACK = f"{PUBLIC}/auth/callback"
SECRET = b"what all replicas have in common"


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(CALLBACK) as running:
        yield running


@pytest.fixture(scope="module")
def telling() -> Iterator[Provider]:
    """One that says all in its tokens."""
    with Provider(CALLBACK, "tells-all") as running:
        yield running


@pytest.fixture
async def sqlite(new_data: Path, tmp_path: Path) -> AsyncIterator[Database]:
    """For tests that ask nothing of the database."""
    opened = SqliteDatabase(Path(shutil.copy(new_data / "stowage.sqlite3", tmp_path / "db")))
    await opened.start()
    yield opened
    await opened.stop()


def configured(provider: Provider) -> AsConfigured:
    scopes = ("openid", "profile", "groups", "email")
    return AsConfigured(provider.url, provider.client_id, CLIENT_SECRET, CALLBACK, scopes)


@asynccontextmanager
async def registry(
    database: Database,
    at: AsConfigured,
    *,
    secret: bytes = SECRET,
    clock: Clock | None = None,
    public: str = PUBLIC,
    auditor: Auditor | None = None,
    sources: Sequence[PasswordSource] = (),
    rates: Rates | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser with the registry's pages behind it; redirects are not followed."""
    openid = OpenId(at, Fetcher(private=True), secret, clock=clock or Clock())
    arrivals, told = Arrivals(database, sources), auditor or Auditor(database, enabled=False)
    pages = SignIn(openid, arrivals, Credentials(database), told, public, 7200, rates)
    transport = httpx.ASGITransport(Starlette(routes=pages.routes()))
    try:
        async with httpx.AsyncClient(transport=transport, base_url=public) as browser:
            yield browser
    finally:
        await openid.close()


async def log_in(browser: httpx.AsyncClient, provider: Provider, name: str) -> httpx.Response:
    sent = await browser.get("/auth/login")
    assert sent.status_code == 303
    return await browser.get(provider.log_in(sent.headers["location"], name))


def shown(page: httpx.Response) -> str:
    found = re.search(r"<pre>(stw_[a-z2-7]{32})</pre>", page.text)
    assert found, page.text
    return found[1]


async def test_somebody_logs_in_and_gets_a_token(database: Database, provider: Provider) -> None:
    before = await authority.revision(database)
    async with registry(database, configured(provider)) as browser:
        page = await log_in(browser, provider, "alice")
    assert page.status_code == 200
    secret = shown(page)
    assert (
        f"docker login --username alice --password-stdin registry.test:5000 &lt;&lt;'END'\n{secret}\nEND" in page.text
    )
    user = await users.find(database, "alice")
    assert user is not None
    assert (user.source, user.subject, user.password, user.is_admin) == ("oidc", f"{provider.url}#alice", None, False)
    assert await users.groups(database, user.id) == [("builders", "oidc"), ("caf\u00e9", "oidc")]
    assert await authority.revision(database) == before + 1
    token = await credentials.find_by_hash(database, digest_of(secret))
    assert token is not None
    assert (token.kind, token.user_id, token.scope) == (Kind.SESSION, user.id, None)
    assert token.expires_at is not None
    assert 0 <= token.created_at + 7200 * 1_000_000 - token.expires_at < 60 * 1_000_000


async def test_a_provider_that_says_all_in_its_token_is_not_asked_again(sqlite: Database, telling: Provider) -> None:
    async with registry(sqlite, configured(telling)) as browser:
        assert "Logged in as alice" in (await log_in(browser, telling, "alice")).text


async def test_who_comes_again_is_the_same_with_the_groups_of_now(database: Database, provider: Provider) -> None:
    """By what the provider calls them for ever, whatever name it says."""
    async with registry(database, configured(provider)) as browser:
        first = await log_in(browser, provider, "alice")
        user = await users.find(database, "alice")
        assert user is not None
        await database.write(lambda tx: users.join(tx, user.id, "local-group"))
        again = await log_in(browser, provider, "alice")
        assert shown(first) != shown(again)
    renamed = replace(configured(provider), name_claim="email")
    async with registry(database, renamed) as browser:
        assert "<h1>Logged in as alice</h1>" in (await log_in(browser, provider, "alice")).text
    assert await users.groups(database, user.id) == [
        ("builders", "oidc"),
        ("caf\u00e9", "oidc"),
        ("local-group", "local"),
    ]


async def test_groups_that_the_provider_says_no_more_are_left(database: Database, provider: Provider) -> None:
    async with registry(database, configured(provider)) as browser:
        await log_in(browser, provider, "alice")
        user = await users.find(database, "alice")
        assert user is not None
        await database.write(lambda tx: users.join(tx, user.id, "of-old", "oidc"))
        before = await authority.revision(database)
        await log_in(browser, provider, "alice")
        assert await authority.revision(database) == before + 1
        await log_in(browser, provider, "alice")
        assert await authority.revision(database) == before + 1  # nothing has changed
    assert ("of-old", "oidc") not in await users.groups(database, user.id)


async def test_a_name_that_is_taken_is_refused(database: Database, provider: Provider) -> None:
    for source, subject in (("local", None), ("ldap", "1"), ("oidc", f"{provider.url}#somebody-else")):
        await database.write(lambda tx, source=source, subject=subject: _make(tx, source, subject))  # type: ignore[misc]  # a lambda's default
        async with registry(database, configured(provider)) as browser:
            page = await log_in(browser, provider, "alice")
        assert page.status_code == 403
        assert "The name alice belongs to somebody else here" in page.text
        assert "stw_" not in page.text
        user = await users.find(database, "alice")
        assert user is not None and (user.source, user.subject) == (source, subject)
        assert await users.groups(database, user.id) == []


async def _make(transaction: Transaction, source: str, subject: str | None) -> None:
    found = await users.find(transaction, "alice")
    if found is not None:
        await users.remove(transaction, found.id)
    await users.add(transaction, "alice", source=source, subject=subject, password="x")


async def test_who_is_disabled_gets_no_token(database: Database, provider: Provider) -> None:
    async with registry(database, configured(provider)) as browser:
        await log_in(browser, provider, "alice")
        user = await users.find(database, "alice")
        assert user is not None
        await database.write(lambda tx: users.disable(tx, user.id))
        page = await log_in(browser, provider, "alice")
    assert (page.status_code, "stw_" in page.text) == (403, False)
    assert "The user alice is disabled" in page.text


async def test_a_name_that_can_be_none_here_is_refused_and_shown_harmlessly(
    sqlite: Database, provider: Provider
) -> None:
    async with registry(sqlite, configured(provider)) as browser:
        page = await log_in(browser, provider, "mallory")
        assert page.status_code == 403
        assert "Nobody can be called &lt;script&gt;" in page.text
        assert "<script" not in page.text
        page = await log_in(browser, provider, "nameless")
        assert "does not say preferred_username of you" in page.text
    by_mail = replace(configured(provider), name_claim="email")
    async with registry(sqlite, by_mail) as browser:
        assert "Logged in as alice@example.org" in (await log_in(browser, provider, "alice")).text


async def test_pages_are_kept_by_nobody_and_framed_nowhere(sqlite: Database, provider: Provider) -> None:
    async with registry(sqlite, configured(provider)) as browser:
        sent = await browser.get("/auth/login")
        page = await browser.get(provider.log_in(sent.headers["location"], "alice"))
        for answer in (sent, page):
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        cookie = sent.headers["set-cookie"]
        assert cookie.startswith("stowage-login=")
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and f"Max-Age={LOGIN_S}" in cookie
        assert 'stowage-login=""' in page.headers["set-cookie"] and "Max-Age=0" in page.headers["set-cookie"]
    async with registry(sqlite, configured(provider), public="https://registry.test") as browser:
        cookie = (await browser.get("/auth/login")).headers["set-cookie"]
        assert cookie.startswith("__Host-stowage-login=")
        assert "Secure" in cookie and "Path=/;" in cookie and "Domain" not in cookie


async def test_the_provider_is_asked_as_it_must_be(sqlite: Database, provider: Provider) -> None:
    async with registry(sqlite, configured(provider)) as browser:
        sent = [(await browser.get("/auth/login?next=https://evil.test/")).headers["location"] for _ in range(2)]
    asked = [parse_qs(urlsplit(url).query) for url in sent]
    assert all(url.startswith(f"{provider.url}/auth?") for url in sent)
    assert "evil" not in "".join(sent)
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[0][name][0]) >= 43
        assert asked[0][name] != asked[1][name]
    assert (asked[0]["code_challenge_method"], asked[0]["redirect_uri"]) == (["S256"], [CALLBACK])


async def test_an_answer_counts_once(sqlite: Database, provider: Provider) -> None:
    async with registry(sqlite, configured(provider)) as browser:
        sent = await browser.get("/auth/login")
        kept = dict(browser.cookies)
        back = provider.log_in(sent.headers["location"], "alice")
        assert (await browser.get(back)).status_code == 200
        again = await browser.get(back)
        assert (again.status_code, "stw_" in again.text) == (400, False)
        for name, value in kept.items():  # whoever kept the cookie finds the code used
            browser.cookies.set(name, value)
        again = await browser.get(back)
        assert (again.status_code, "stw_" in again.text) == (400, False)
        assert "does not take the code" in again.text


async def test_an_answer_is_of_this_login_of_this_browser(sqlite: Database, provider: Provider) -> None:
    async with registry(sqlite, configured(provider)) as browser, registry(sqlite, configured(provider)) as other:
        back = provider.log_in((await browser.get("/auth/login")).headers["location"], "alice")
        await other.get("/auth/login")
        page = await other.get(back)  # somebody was sent a link that logs them in as alice
        assert (page.status_code, "stw_" in page.text) == (400, False)
        assert "belongs to another login" in page.text
        wrongs: list[dict[str, str | None]] = [
            {"state": "other"},
            {"state": ""},
            {"iss": "https://evil.test"},
            {"iss": None},
            {"code": ""},
            {"code": "made-up"},
        ]
        for wrong in wrongs:
            await browser.get("/auth/login")
            back = provider.log_in((await browser.get("/auth/login")).headers["location"], "alice")
            changed = {**dict(parse_qsl(urlsplit(back).query)), **wrong}
            query = urlencode({name: value for name, value in changed.items() if value is not None})
            page = await browser.get(f"/auth/callback?{query}")
            assert (page.status_code, "stw_" in page.text) == (400, False), wrong


async def test_another_replica_ends_what_one_began_and_a_stranger_does_not(
    sqlite: Database, provider: Provider
) -> None:
    for secret, status in ((SECRET, 200), (b"another secret", 400)):
        async with (
            registry(sqlite, configured(provider)) as browser,
            registry(sqlite, configured(provider), secret=secret) as replica,
        ):
            back = provider.log_in((await browser.get("/auth/login")).headers["location"], "alice")
            replica.cookies = browser.cookies
            assert (await replica.get(back)).status_code == status


async def test_a_login_that_takes_too_long_begins_anew(sqlite: Database, provider: Provider) -> None:
    clock = Clock()
    async with registry(sqlite, configured(provider), clock=clock) as browser:
        back = provider.log_in((await browser.get("/auth/login")).headers["location"], "alice")
        clock.ahead = LOGIN_S + 1
        page = await browser.get(back)
    assert (page.status_code, "taken too long" in page.text) == (400, True)


@pytest.mark.parametrize("cookie", ["", "x", "AAAA", "A" * 400, "\u00e9", '""'])
async def test_a_cookie_that_was_made_up_is_none(sqlite: Database, provider: Provider, cookie: str) -> None:
    async with registry(sqlite, configured(provider)) as browser:
        header = {"cookie": f"stowage-login={cookie}".encode("latin-1")}
        page = await browser.get("/auth/callback?code=a&state=b", headers=header)  # type: ignore[arg-type]  # bytes do too
    assert page.status_code == 400


async def test_what_the_provider_refuses_is_said_harmlessly(sqlite: Database, provider: Provider) -> None:
    async with registry(sqlite, configured(provider)) as browser:
        sent = await browser.get("/auth/login")
        state = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
        said = {"error": "<b>access_denied</b>", "state": state, "iss": provider.url}
        page = await browser.get(f"/auth/callback?{urlencode(said)}")
    assert page.status_code == 403
    assert "&lt;b&gt;access_denied" in page.text


async def test_a_provider_that_is_away_is_said(sqlite: Database) -> None:
    away = AsConfigured(f"http://127.0.0.1:{free_port()}", "stowage", CLIENT_SECRET, CALLBACK)
    async with registry(sqlite, away) as browser:
        page = await browser.get("/auth/login")
    assert (page.status_code, "location" in page.headers) == (503, False)


async def test_a_wrong_secret_of_the_client_is_no_login(sqlite: Database, provider: Provider) -> None:
    async with registry(sqlite, replace(configured(provider), client_secret="wrong")) as browser:
        page = await log_in(browser, provider, "alice")
    assert (page.status_code, "invalid_client" in page.text) == (400, True)


async def test_a_login_by_browser_is_in_the_audit_log_and_so_is_one_that_fails(
    sqlite: Database, provider: Provider
) -> None:
    auditor = Auditor(sqlite, enabled=True)
    async with registry(sqlite, configured(provider), auditor=auditor) as browser:
        assert (await log_in(browser, provider, "alice")).status_code == 200
        assert (await browser.get("/auth/callback?code=stolen&state=made-up")).status_code == 400
    await auditor.flush()
    found = await audit.page(sqlite, Filter(), before=2**62, limit=100)
    assert {(one.action, one.outcome, one.principal, one.address) for one in found} == {
        ("user.add", "done", "user:alice", "127.0.0.1"),
        ("user.groups", "done", "user:alice", "127.0.0.1"),
        ("token.add", "done", "user:alice", "127.0.0.1"),
        ("login", "done", "user:alice", "127.0.0.1"),
        ("login", "failed", "system:anonymous", "127.0.0.1"),
    }
    assert not [one for one in found if "stolen" in one.detail or "stw_" in one.detail]


async def test_nobody_takes_the_name_of_somebody_who_has_not_come_yet(
    sqlite: Database, provider: Provider, tmp_path: Path
) -> None:
    """Else who may choose a name at the provider chooses that of an admin in the file."""
    write_htpasswd(tmp_path / "htpasswd", {"alice": "a password of the file"})
    file = Htpasswd(tmp_path / "htpasswd", Passwords())
    async with registry(sqlite, configured(provider), sources=[file]) as browser:
        page = await log_in(browser, provider, "alice")
    assert page.status_code == 403 and "belongs to somebody else here" in page.text
    assert await users.find(sqlite, "alice") is None


async def test_the_pages_are_not_asked_for_more_often_than_anything_else(sqlite: Database, provider: Provider) -> None:
    async with registry(sqlite, configured(provider), rates=Rates(principal=0, address=6)) as browser:
        found = [(await browser.get("/auth/login")).status_code for _ in range(3)]
    assert found == [303, 429, 429]
