"""Identities that others vouch for, built from settings: what is configured works, and nothing else is imported."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from auth.errors import TokenInvalid
from auth.sources import Identity
from registry.db.sqlite import SqliteDatabase
from registry.errors import Unavailable
from registry.outside import Outside, build_outside
from registry.services.audit import Auditor
from registry.settings import load_settings
from tests.support.certificates import make_certificate
from tests.support.directory import PASSWORDS, PEOPLE, READER, READER_PASSWORD, Slapd
from tests.support.issuer import AUDIENCE, Issuer

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
RULES = [
    {"claims": {"kubernetes.io": {"namespace": "prod"}}, "serviceaccount": "prod/deployer"},
    {"claims": {"kubernetes.io": {"namespace": "ci"}, "sub": "system:serviceaccount:ci:*"}, "serviceaccount": "t/b"},
]


def built(auth: Mapping[str, Any], **more: Any) -> Outside:
    settings = load_settings(command_line={"auth": {"mode": "users", **auth}, **more})
    database = SqliteDatabase(Path("/nowhere/db"))
    return build_outside(settings, database, b"secret", Auditor(database, enabled=False))


def trusting(issuer: str, **more: Any) -> Mapping[str, Any]:
    return {"trust": [{"name": "cluster", "issuer": issuer, "audience": AUDIENCE, "rules": RULES, **more}]}


def test_nothing_is_asked_where_nothing_is_configured() -> None:
    assert built({}) == Outside(None, None, None, None)


async def test_a_directory_is_asked_as_the_settings_say() -> None:
    with Slapd() as slapd:
        said = {
            "urls": slapd.tls_url,
            "ca": slapd.tls.certificate,
            "bind_dn": READER,
            "bind_password": READER_PASSWORD,
            "user_base": PEOPLE,
            "member_of": "memberOf",
        }
        source = built({"ldap": said}).directory
        assert source is not None
        found = await source.check("bob", PASSWORDS["bob"])
    assert isinstance(found, Identity)
    assert (found.name, found.groups) == ("bob", frozenset({"builders"}))


async def test_tokens_of_a_cluster_are_trusted_as_the_settings_say(tmp_path: Path) -> None:
    mine = make_certificate(tmp_path)
    (tmp_path / "token").write_text("sesame")
    with Issuer(mine) as issuer:
        more = {"allow_private": True, "ca": mine.certificate, "token_file": tmp_path / "token"}
        trust = built(trusting(issuer.url, **more)).trust
        assert trust is not None
        found = await trust.verify(issuer.token())
        assert {one.headers.get("authorization") for one in issuer.asked} == {"Bearer sesame"}
    assert (found.subject, found.scopes) == ("serviceaccount:t/b", None)


async def test_keys_may_be_in_a_file_and_are_asked_for_nowhere_then(tmp_path: Path) -> None:
    with Issuer() as issuer:
        (tmp_path / "keys").write_text(json.dumps({"keys": issuer.published}))
        trust = built(trusting(issuer.url, keys_file=tmp_path / "keys", allow_private=True)).trust
        assert trust is not None
        assert (await trust.verify(issuer.token())).subject == "serviceaccount:t/b"
        assert issuer.asked == []


async def test_an_outside_token_server_is_trusted_as_the_settings_say(tmp_path: Path) -> None:
    access = [{"type": "repository", "name": "a", "actions": ["pull"]}]
    with Issuer() as issuer:
        (tmp_path / "keys").write_text(json.dumps({"keys": issuer.published}))
        said = {"realm": f"{issuer.url}/token", "issuer": issuer.url, "service": AUDIENCE, "allow_private": True}
        for keys in (f"{issuer.url}/keys", str(tmp_path / "keys")):
            server = built({"token": {**said, "jwks": keys}}).token_server
            assert server is not None
            claims = await server.verify(issuer.token(access=access, sub="carl"))
            assert (claims.subject, [*map(str, claims.scopes or ())]) == ("user:carl", ["repository:a:pull"])
            with pytest.raises(TokenInvalid):
                await server.verify(issuer.token(access=access, aud="other"))


def test_pages_for_browsers_are_there_where_a_provider_is() -> None:
    said = {"oidc": {"issuer": "https://login.test"}}
    outside = built(said, http={"public_url": "https://registry.test"})
    assert outside.sign_in is not None
    assert [one.path for one in outside.sign_in.routes()] == ["/auth/login", "/auth/callback"]


@pytest.mark.parametrize("content", [None, "nothing", "{}"])
def test_files_that_can_not_be_used_are_told_at_once(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    realm = "https://t.test/token"
    for auth, named in (
        (trusting("https://i.test", keys_file=file), "auth.trust"),
        (trusting("https://i.test", ca=file), "auth.trust: cluster: ca"),
        ({"token": {"realm": realm, "jwks": str(file)}}, "auth.token"),
        ({"token": {"realm": realm, "rootcertbundle": file}}, "auth.token"),
        ({"ldap": {"urls": "ldaps://x", "user_base": "y", "ca": file}}, "auth.ldap.ca"),
    ):
        with pytest.raises(Unavailable, match=named):
            built(auth)


def test_what_is_not_configured_is_not_imported() -> None:
    """It would take a third of the time that there is to start."""
    program = (
        "import sys; from pathlib import Path; from registry.outside import build_outside;"
        "from registry.settings import load_settings; from registry.db.sqlite import SqliteDatabase;"
        "build_outside(load_settings(command_line={'data': Path('d')}), SqliteDatabase(Path('d')), b'', None);"
        "print(sorted({'ldap3', 'httpx', 'jwt', 'cryptography'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
