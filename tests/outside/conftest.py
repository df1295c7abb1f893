"""A server that believes a directory, an identity provider and an issuer, all of which are there."""

import json
from collections.abc import Iterator

import pytest

from auth.roles import EDITOR
from tests.support.directory import PEOPLE as FOLDER
from tests.support.directory import READER, READER_PASSWORD, Slapd
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.people import PROJECT, People, settings_for
from tests.support.ports import free_port
from tests.support.provider import CLIENT_SECRET, Provider
from tests.support.server import Server

RULE = {
    "claims": {"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "runner"}}},
    "serviceaccount": f"{PROJECT}/builder",
}


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    with Slapd() as running:
        yield running


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture(scope="session")
def provider() -> Provider:
    """Started with the server, whose address it must know."""
    return Provider("")


@pytest.fixture(scope="session")
def believing(
    tmp_path_factory: pytest.TempPathFactory, slapd: Slapd, issuer: Issuer, provider: Provider
) -> Iterator[Server]:
    """The server: members of `builders` may push to the project, and so may its service account `builder`."""
    port = free_port()
    trust = {"name": "cluster", "issuer": issuer.url, "audience": AUDIENCE, "allow_private": True, "rules": [RULE]}
    settings = {
        "STOWAGE_HTTP__PUBLIC_URL": f"http://127.0.0.1:{port}",
        "STOWAGE_AUTH__LDAP__URLS": slapd.url,
        "STOWAGE_AUTH__LDAP__BIND_DN": READER,
        "STOWAGE_AUTH__LDAP__BIND_PASSWORD": READER_PASSWORD,
        "STOWAGE_AUTH__LDAP__USER_BASE": FOLDER,
        "STOWAGE_AUTH__LDAP__MEMBER_OF": "memberOf",
        "STOWAGE_AUTH__LDAP__TIMEOUT": "30s",
        "STOWAGE_AUTH__OIDC__ISSUER": provider.url,
        "STOWAGE_AUTH__OIDC__CLIENT_SECRET": CLIENT_SECRET,
        "STOWAGE_AUTH__OIDC__SCOPES": "openid profile groups",
        "STOWAGE_AUTH__OIDC__ALLOW_PRIVATE": "true",
        "STOWAGE_AUTH__TRUST": json.dumps([trust]),
    }
    server = Server(tmp_path_factory.mktemp("believing"), settings_for(settings), ("--workers", "2"))
    server.port = port
    provider.redirect_url = f"{server.url}/auth/callback"
    with provider, server:
        people = People(server)
        people.populate()
        people.grant(EDITOR, "group:builders")
        people.service_account("builder")
        yield server


@pytest.fixture(scope="session")
def people(believing: Server) -> People:
    return People(believing)


@pytest.fixture
def mine(repository: str) -> str:
    """A repository that no other test uses, in the project whose people are known."""
    return f"{PROJECT}/{repository.partition('/')[2]}"
