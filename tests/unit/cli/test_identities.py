"""What `stowage check` says of directories, providers and issuers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.cli.identities import identity_problems
from registry.settings import load_settings
from tests.support.directory import PEOPLE, READER, READER_PASSWORD, Slapd
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.ports import free_port

RULES = [{"claims": {"sub": "x"}, "serviceaccount": "a/b"}]


def problems(**auth: Any) -> list[tuple[str, str]]:
    http = {"public_url": "https://registry.test"}
    settings = load_settings(command_line={"auth": {"mode": "users", **auth}, "http": http, "data": Path("/nowhere")})
    return [(one.reason, one.message) for one in identity_problems(settings)]


def trusting(url: str) -> Mapping[str, Any]:
    return {"name": "cluster", "issuer": url, "audience": AUDIENCE, "allow_private": True, "rules": RULES}


def test_nothing_is_wrong_where_all_answer(tmp_path: Path) -> None:
    with Slapd() as slapd, Issuer() as issuer:
        ldap = {"urls": slapd.url, "user_base": PEOPLE, "bind_dn": READER, "bind_password": READER_PASSWORD}
        oidc = {"issuer": issuer.url, "allow_private": True}
        assert problems(ldap=ldap, oidc=oidc, trust=[trusting(issuer.url)]) == []
        assert problems() == []
        token = {"realm": issuer.url, "jwks": f"{issuer.url}/keys", "allow_private": True}
        assert problems(token=token) == []
        (tmp_path / "keys").write_text(json.dumps({"keys": issuer.published}))
        assert problems(trust=[{**trusting(issuer.url), "keys_file": tmp_path / "keys"}]) == []

        wrong = {
            "it refuses bind_dn": {**ldap, "bind_password": "wrong"},
            "user_base is not there": {**ldap, "user_base": "ou=nowhere,dc=test"},
            "group_base is not there": {**ldap, "group_base": "ou=nowhere,dc=test"},
        }
        for said, settings in wrong.items():
            ((reason, message),) = problems(ldap=settings)
            assert (reason, message.startswith("auth.ldap: ")) == ("IdentityUnreachable", True)
            assert said in message
        issuer.says_issuer = "https://other.test"
        ((reason, message),) = problems(oidc=oidc)
        assert reason == "IdentityUnreachable"
        assert "is of another issuer" in message


def test_those_who_are_away_are_named_and_keep_nothing_from_starting() -> None:
    away = f"http://127.0.0.1:{free_port()}"
    found = problems(
        ldap={"urls": f"ldap://127.0.0.1:{free_port()}", "user_base": PEOPLE},
        oidc={"issuer": away, "allow_private": True},
        trust=[trusting(away)],
    )
    assert [reason for reason, _ in found] == ["IdentityUnreachable"] * 3
    assert [message.partition(":")[0] for _, message in found] == ["auth.ldap", "auth.trust", "auth.oidc"]


def test_a_file_that_can_not_be_used_is_an_error(tmp_path: Path) -> None:
    ((reason, message),) = problems(trust=[{**trusting("https://i.test"), "keys_file": tmp_path / "none"}])
    assert reason == "IdentityUnusable"
    assert str(tmp_path / "none") in message
