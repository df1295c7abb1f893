"""Settings of identities that others vouch for: errors that say what is wrong, and no secret."""

from pathlib import Path

import pytest

from registry.settings import SettingsError, load_settings

TRUST = "name: a, issuer: 'https://i.test', audience: us, rules: [{claims: {sub: x}, serviceaccount: team/builder}]"
RULE = "rules: [{claims: {sub: x}, serviceaccount: team/builder}]"


def write(folder: Path, text: str) -> Path:
    file = folder / "stowage.yaml"
    file.write_text(f"auth: {{mode: users, {text}}}\nhttp: {{public_url: 'https://registry.test'}}\n")
    return file


def trusting(changed: str, rules: str = RULE) -> str:
    return f"trust: [{{name: a, issuer: 'https://i.test', audience: us, {changed}{rules}}}]"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ldap: {urls: 'http://x', user_base: y}", ["auth.ldap.urls", "ldaps://HOST"]),
        ("ldap: {urls: 'ldap://[x', user_base: y}", ["auth.ldap.urls", "ldaps://HOST"]),
        ("ldap: {urls: 'ldaps://x/dc=y', user_base: y}", ["auth.ldap.urls", "ldaps://HOST"]),
        ("ldap: {urls: 'ldap://x', user_base: y}", ["auth.ldap", "start_tls", "ldap://x"]),
        ("ldap: {urls: ['ldaps://y', 'ldap://x'], user_base: y}", ["auth.ldap", "ldap://x"]),
        ("ldap: {urls: 'ldaps://x'}", ["auth.ldap", "user_dn or user_base"]),
        ("ldap: {urls: 'ldaps://x', user_base: y, user_dn: 'uid={name}'}", ["auth.ldap", "user_dn or user_base"]),
        ("ldap: {urls: 'ldaps://x', user_dn: 'uid=name'}", ["auth.ldap", "{name}"]),
        ("ldap: {urls: 'ldaps://x', user_base: y, user_filter: '(uid=alice)'}", ["auth.ldap", "{name}"]),
        ("ldap: {urls: 'ldaps://x', user_base: y, user_filter: 'uid={name}'}", ["auth.ldap", "parentheses"]),
        ("ldap: {urls: 'ldaps://x', user_base: y, group_filter: '(a={dn}'}", ["auth.ldap", "parentheses"]),
        ("ldap: {urls: 'ldaps://x', user_base: y, bind_dn: z}", ["auth.ldap", "bind_password"]),
        ("ldap: {timeout: 2m}", ["auth.ldap.timeout", "60"]),
        ("oidc: {issuer: 'http://x'}", ["auth.oidc", "https://", "allow_private"]),
        ("oidc: {issuer: 'https://user:pw@x'}", ["auth.oidc", "https://"]),
        ("oidc: {scopes: profile}", ["auth.oidc.scopes", "openid"]),
        ("oidc: {session: 2d}", ["auth.oidc.session", "86400"]),
        ("oidc: {name: x}", ["auth.oidc.name", "no such setting", "name_claim"]),
        ("trust: 3", ["auth.trust", "tuple"]),
        ("trust: [3]", ["auth.trust.0", "dictionary"]),
        ("trust: [{name: a}]", ["auth.trust.0.issuer", "auth.trust.0.rules", "is missing"]),
        (trusting("isuer: x, "), ["auth.trust.0.isuer", "no such setting", "token_file"]),
        (trusting("", "rules: []"), ["auth.trust.0", "at least one rule"]),
        (trusting("", "rules: [{claims: {}, serviceaccount: a/b}]"), ["auth.trust.0.rules.0.claims", "1 item"]),
        (trusting("", "rules: [{claims: {a: '*'}, serviceaccount: a/b}]"), ["rules.0.claims", "everybody is let in"]),
        (trusting("", "rules: [{claims: {a: {b: '**'}}, serviceaccount: a/b}]"), ["everybody is let in"]),
        (trusting("", "rules: [{claims: {a: [b]}, serviceaccount: a/b}]"), ["rules.0.claims", "a text or pattern"]),
        (trusting("", "rules: [{claims: {a: b}, serviceaccount: b}]"), ["serviceaccount", "PROJECT/NAME"]),
        (trusting("", "rules: [{claims: {a: b}, serviceaccount: a/b, c: 1}]"), ["rules.0.c", "claims, serviceaccount"]),
        (trusting("jwks: 'https://x', keys_file: /k, "), ["auth.trust.0", "not both"]),
        (trusting("jwks: 'http://x', "), ["auth.trust.0", "jwks", "https://"]),
        ("token: {realm: 'https://x/token'}", ["auth.token", "rootcertbundle or jwks"]),
        ("token: {jwks: /keys}", ["auth.token", "realm"]),
        ("token: {realm: x, jwks: /keys}", ["auth.token", "realm", "https://"]),
        ("token: {realm: 'https://x', jwks: 'http://y/keys'}", ["auth.token", "jwks", "https://"]),
    ],
)
def test_an_error_names_key_source_and_what_was_expected(tmp_path: Path, text: str, named: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    for word in [*named, str(file)]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "ldap: {bind_password: [hunter2]}",
        "ldap: {urls: 'ldaps://x', bind_password: hunter2}",
        "oidc: {client_secret: {a: hunter2}}",
        "oidc: {issuer: 'ftp://x', client_secret: hunter2}",
        "oidc: {issuer: 'https://me:hunter2@x'}",
    ],
)
def test_an_error_shows_no_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "ldap: {urls: 'ldap://127.0.0.1:389 ldap://localhost', user_base: y}",
        "ldap: {urls: 'ldap://x', start_tls: true, user_dn: 'uid={name},dc=y'}",
        "ldap: {urls: 'ldap://x', plain: true, user_base: y, bind_dn: a, bind_password: b}",
        "oidc: {issuer: 'http://127.0.0.1:3000/', allow_private: true}",
        f"trust: [{{{TRUST}}}, {{{TRUST}, keys_file: /k}}]",
        trusting("", "rules: [{claims: {a: {b: x, c: '*'}, d: true, e: 1}, serviceaccount: a/b}]"),
        "token: {realm: 'https://x/token', issuer: y, service: z, rootcertbundle: /b.pem, jwks: 'https://y/keys'}",
    ],
)
def test_what_makes_sense_is_taken(tmp_path: Path, text: str) -> None:
    load_settings(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("auth: {ldap: {urls: 'ldaps://x', user_base: y}}", "auth.mode: expected users beside auth.ldap"),
        ("auth: {token: {realm: 'https://x', jwks: /k}}", "auth.mode: expected users beside auth.token.realm"),
        ("auth: {mode: users, oidc: {issuer: 'https://x'}}", "http.public_url: is missing"),
        (
            f"auth: {{mode: users, token: {{realm: 'https://x', jwks: /k}}, trust: [{{{TRUST}}}]}}",
            "decides alone: expected nothing of auth.trust",
        ),
        (
            "auth: {mode: users, token: {realm: 'https://x', jwks: /k}, htpasswd: /h}",
            "decides alone: expected nothing of auth.htpasswd",
        ),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "stowage.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "stowage.yaml")
    assert said in str(caught.value)


def test_lists_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_AUTH__MODE", "users")
    monkeypatch.setenv("STOWAGE_AUTH__LDAP__URLS", "ldaps://a.test, ldaps://b.test")
    monkeypatch.setenv("STOWAGE_AUTH__LDAP__USER_BASE", "dc=test")
    rules = '[{"claims": {"sub": "x"}, "serviceaccount": "a/b"}]'
    issuer = f'{{"name": "a", "issuer": "https://i.test", "audience": "b c", "rules": {rules}}}'
    monkeypatch.setenv("STOWAGE_AUTH__TRUST", f"[{issuer}]")
    found = load_settings().auth
    assert found.ldap.urls == ("ldaps://a.test", "ldaps://b.test")
    assert found.trust[0].audience == ("b", "c")
    monkeypatch.setenv("STOWAGE_AUTH__TRUST", '[{"name": "a"}]')
    with pytest.raises(SettingsError, match="STOWAGE_AUTH__TRUST"):
        load_settings()
