"""People in a directory: LDAP version 3 (RFC 4511), with ldap3."""

import asyncio
import logging
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPBindError, LDAPCommunicationError, LDAPException, LDAPResponseTimeoutError
from ldap3.core.results import (
    RESULT_INAPPROPRIATE_AUTHENTICATION,
    RESULT_INVALID_CREDENTIALS,
    RESULT_INVALID_DN_SYNTAX,
    RESULT_NO_SUCH_OBJECT,
    RESULT_SIZE_LIMIT_EXCEEDED,
    RESULT_SUCCESS,
)

from auth.errors import SourceUnavailable, TooManyAttempts
from auth.ldap_text import escaped_dn, escaped_filter, filled, first_component
from auth.sources import Identity

LDAP = "ldap"
PAUSE_S = 2.0
"""For how long a directory that could not be reached is left alone."""

_THREADS = 8
_MOST_WAITING = 64
_MOST_GROUPS = 1000
_RETRY_AFTER_S = 2
_AWAY = "the directory can't be asked now"
_WRONG = {RESULT_INVALID_CREDENTIALS, RESULT_INAPPROPRIATE_AUTHENTICATION, RESULT_INVALID_DN_SYNTAX}

_SILENT = (LDAPBindError, LDAPCommunicationError, LDAPResponseTimeoutError, OSError)
"""What ldap3 raises where a server closes a connection or says nothing. A bind that is refused is none of these."""

T = TypeVar("T")

_logger = logging.getLogger("stowage.auth")


@dataclass(frozen=True, slots=True)
class Directory:
    """Where a directory is, and how people and groups are found in it.

    Attributes:
        urls: `ldap://` or `ldaps://`, asked in this order: the first that takes a connection.
        start_tls: `ldap://` goes over to TLS before anything else is said.
        ca: PEM file with whom to trust; the system's when not given.
        bind_dn: who looks for people; nobody (anonymous) when empty.
        user_dn: a person's entry, with `{name}` in it; instead of looking for it.
        user_base: below what people are looked for.
        user_filter: which entry is somebody's, with `{name}` in it.
        name_attribute: what of an entry is the name here, so that it is always written the same.
        subject_attribute: what of it stays when that changes; the DN where an entry has none.
        group_base: below what groups are looked for; none are when empty.
        group_filter: which groups somebody is in, with `{dn}` and `{name}` in it.
        group_name_attribute: what of a group is its name here.
        member_of: the attribute of a person that lists the DNs of groups, if one does; the first component is the name.
        timeout_s: for a connection, and for each answer; whole seconds, as ldap3 wants.
    """

    urls: tuple[str, ...]
    start_tls: bool = False
    ca: Path | None = None
    bind_dn: str = ""
    bind_password: str = ""
    user_dn: str = ""
    user_base: str = ""
    user_filter: str = "(uid={name})"
    name_attribute: str = "uid"
    subject_attribute: str = "entryUUID"
    group_base: str = ""
    group_filter: str = "(member={dn})"
    group_name_attribute: str = "cn"
    member_of: str = ""
    timeout_s: int = 5


@dataclass(frozen=True, slots=True)
class _Entry:
    dn: str
    name: str
    subject: str
    groups: frozenset[str]


class _Away(Exception):
    """The directory can't be asked; the message is for the log."""


class _Unreachable(_Away):
    """It can't be reached, or does not answer."""


class LdapSource:
    """A PasswordSource: a directory. Asked in a few threads of its own, since ldap3 blocks.

    One that did not answer is left alone for two seconds, so that those who wait in line learn it at once, and not one
    after the other by waiting themselves.
    """

    name = LDAP

    def __init__(self, directory: Directory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._away_until = 0.0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="directory")
        self._places = threading.Semaphore(_MOST_WAITING)

    async def check(self, name: str, password: str) -> Identity | Literal[False] | None:
        """Say whose password this is.

        An empty password is never shown to a directory: many take it for an anonymous bind, which succeeds
        (RFC 4513, section 5.1.2).
        """
        if not password or not name:
            return None
        if not self._places.acquire(blocking=False):
            raise TooManyAttempts("too many are logging in at once", retry_after=_RETRY_AFTER_S)
        try:
            answer = self._threads.submit(self._check, name, password)
        except BaseException:
            self._places.release()
            raise
        answer.add_done_callback(lambda _: self._places.release())
        try:
            return await asyncio.wrap_future(answer)
        except _Away as error:
            _logger.error("the directory can't be asked: %s", error)
            raise SourceUnavailable(_AWAY) from None

    async def proof(self, name: str) -> str | None:
        """Return "": a directory says nothing of passwords that it is not shown."""
        return ""

    async def probe(self) -> list[str]:
        """Ask whether people can be looked for, and return what is wrong."""
        try:
            return await asyncio.wrap_future(self._threads.submit(self._probe))
        except _Away as error:
            return [str(error)]

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _probe(self) -> list[str]:
        return self._in_session(lambda session: session.probe())

    def _check(self, name: str, password: str) -> Identity | Literal[False] | None:
        return self._in_session(lambda session: session.check(name, password.encode()))

    def _in_session(self, work: "Callable[[_Session], T]") -> T:
        if self._clock() < self._away_until:
            raise _Unreachable("it did not answer a moment ago")
        try:
            with _Session(self._directory) as session:
                return work(session)
        except (_Unreachable, *_SILENT) as error:
            self._away_until = self._clock() + PAUSE_S
            raise _Unreachable(f"{type(error).__name__.lstrip('_')}: {error}") from None
        except (LDAPException, ValueError) as error:
            raise _Away(f"{type(error).__name__}: {error}") from None


class _Session:
    """One connection, for one login."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._connection = _connected(directory)

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._connection.unbind()
        except (LDAPException, OSError):
            pass  # it is gone already

    def check(self, name: str, password: bytes) -> Identity | Literal[False] | None:
        directory = self._directory
        if directory.user_dn:
            dn = filled(directory.user_dn, escaped_dn, name=name)
            if not self._bind(dn, password):
                return False
            entry = self._entry(dn, "(objectClass=*)", ldap3.BASE)
            if entry is None:
                raise _Away(f"who logs in as user_dn says can't read the own entry, {dn}")
        else:
            self._bind_as_reader()
            found = filled(directory.user_filter, escaped_filter, name=name)
            entry = self._entry(directory.user_base, found, ldap3.SUBTREE)
            if entry is None:
                self._bind(f"cn={secrets.token_hex(8)},{directory.user_base}", password)  # takes as long
                return None
            if not self._bind(entry.dn, password):
                return False
        groups = entry.groups
        if directory.group_base:
            if not directory.user_dn:
                self._bind_as_reader()
            groups |= self._groups(entry)
        return Identity(entry.name, groups=groups, source=LDAP, subject=entry.subject)

    def probe(self) -> list[str]:
        """Return what is wrong with how people are looked for."""
        directory = self._directory
        if directory.user_dn:  # nothing can be seen before somebody logs in
            return []
        self._bind_as_reader()
        bases = {"user_base": directory.user_base, "group_base": directory.group_base}
        return [
            f"{name} is not there, or not to be seen: {base}"
            for name, base in bases.items()
            if base and not self._search(base, "(objectClass=*)", ldap3.BASE, [], 1)
        ]

    def _bind_as_reader(self) -> None:
        directory = self._directory
        if directory.bind_dn and not self._bind(directory.bind_dn, directory.bind_password.encode()):
            raise _Away("it refuses bind_dn and bind_password")

    def _bind(self, dn: str, password: bytes) -> bool:
        """Say whether a password is right. As bytes: as text, ldap3 takes signs out of it, which may leave nothing."""
        if not password:
            raise _Away("bind_password is empty")
        self._connection.rebind(user=dn, password=password, authentication=ldap3.SIMPLE, read_server_info=False)
        code = self._connection.result["result"]
        if code in _WRONG:
            return False
        if code != RESULT_SUCCESS:
            raise _Away(f"bind: {_said(self._connection.result)}")
        return True

    def _search(self, base: str, found: str, scope: Any, attributes: list[str], most: int) -> list[Mapping[str, Any]]:
        self._connection.search(base, found, search_scope=scope, attributes=attributes, size_limit=most)
        code = self._connection.result["result"]
        if code == RESULT_NO_SUCH_OBJECT:
            return []
        if code not in {RESULT_SUCCESS, RESULT_SIZE_LIMIT_EXCEEDED}:
            raise _Away(f"search below {base}: {_said(self._connection.result)}")
        return [one for one in self._connection.response if one["type"] == "searchResEntry"]

    def _entry(self, base: str, found: str, scope: Any) -> _Entry | None:
        directory = self._directory
        wanted = [directory.name_attribute, directory.subject_attribute, directory.member_of]
        entries = self._search(base, found, scope, [name for name in wanted if name], 2)
        if len(entries) > 1:
            _logger.warning("user_filter finds several entries in the directory for one name: %s", entries[0]["dn"])
        if len(entries) != 1:
            return None
        (entry,) = entries
        names = _texts(entry, directory.name_attribute)
        if not names:
            _logger.warning("%s has no %s in the directory", entry["dn"], directory.name_attribute)
            return None
        subjects = _subjects(entry, directory.subject_attribute)
        groups = frozenset(filter(None, map(first_component, _texts(entry, directory.member_of))))
        return _Entry(entry["dn"], names[0], subjects[0] if subjects else entry["dn"], groups)

    def _groups(self, entry: _Entry) -> frozenset[str]:
        directory = self._directory
        found = filled(directory.group_filter, escaped_filter, name=entry.name, dn=entry.dn)
        attribute = directory.group_name_attribute
        entries = self._search(directory.group_base, found, ldap3.SUBTREE, [attribute], _MOST_GROUPS)
        return frozenset(name for one in entries for name in _texts(one, attribute)[:1])


def _texts(entry: Mapping[str, Any], attribute: str) -> list[str]:
    return [value.decode("utf-8", "replace") for value in _raw(entry, attribute)]


def _subjects(entry: Mapping[str, Any], attribute: str) -> list[str]:
    """Return what somebody is called for ever: as text, or in hexadecimal where it is none (objectGUID)."""
    found = []
    for value in _raw(entry, attribute):
        text = value.decode("utf-8", "replace")
        found.append(text if text.isprintable() and "\ufffd" not in text else value.hex())
    return found


def _raw(entry: Mapping[str, Any], attribute: str) -> list[bytes]:
    values = entry["raw_attributes"].get(attribute, []) if attribute else []
    return [bytes(value) for value in values]


def _said(result: Mapping[str, Any]) -> str:
    return f"{result['description']} {result['message']}".strip()[:300]


class _Tls(ldap3.Tls):  # type: ignore[misc]  # it brings no types
    """TLS as Python has it: ldap3 compares names by itself, and knows no addresses in certificates."""

    def __init__(self, ca: Path | None) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Speak TLS on a connection from here on, once the server's certificate was found right."""
        connection.socket = self._context.wrap_socket(connection.socket, server_hostname=connection.server.host)


def _connected(directory: Directory) -> Any:
    """Return a connection to the first server that takes one. Raises _Unreachable."""
    problems = []
    for url in directory.urls:
        try:
            return _connect(directory, url)
        except (LDAPException, OSError, ssl.SSLError) as error:
            problems.append(f"{url}: {error}")
    raise _Unreachable("; ".join(problems))


def _connect(directory: Directory, url: str) -> Any:
    parts = urlsplit(url)
    is_tls = parts.scheme == "ldaps"
    tls = _Tls(directory.ca) if is_tls or directory.start_tls else None
    host = parts.hostname or ""
    server = ldap3.Server(
        host,
        port=parts.port or (636 if is_tls else 389),
        use_ssl=is_tls,
        tls=tls,
        get_info=ldap3.NONE,
        connect_timeout=directory.timeout_s,
    )
    connection = ldap3.Connection(
        server,
        client_strategy=ldap3.SYNC,
        auto_bind=ldap3.AUTO_BIND_NONE,
        auto_referrals=False,
        receive_timeout=directory.timeout_s,
        raise_exceptions=False,
        check_names=False,
        return_empty_attributes=False,
    )
    try:
        connection.open(read_server_info=False)
        if directory.start_tls and not is_tls:
            connection.start_tls(read_server_info=False)
    except BaseException:
        if connection.socket is not None:  # which ldap3 leaves open
            connection.socket.close()
        raise
    return connection
