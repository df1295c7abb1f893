"""A directory for tests: Debian's slapd, with people and groups in a temporary folder, on free ports."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ldap3

from tests.support.certificates import Certificate, make_certificate
from tests.support.ports import free_port

SUFFIX = "dc=test"
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"
ROOT, ROOT_PASSWORD = f"cn=root,{SUFFIX}", "root-password"
READER, READER_PASSWORD = f"cn=reader,{SUFFIX}", "reader-password"
PASSWORDS = {
    "alice": "wonderland",
    "bob": "builder's tea",
    "erin": "a password of erin's",
    "frank": "a password of frank's",
    "o'neil": "p\u00e4ssw\u00f6rt",
    "star*": "twinkle",
    "carl,ou=admins": "comma",
    "dora": "\u00ad",
}

_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {folder}/pid
argsfile {folder}/args
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
allow bind_anon_cred
database mdb
suffix "{suffix}"
rootdn "{root}"
rootpw {root_password}
directory {folder}/data
maxsize 16777216
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by self read by * auth
"""


class Slapd:
    """The server. It lets in whoever shows an empty password, as many directories do: `allow bind_anon_cred`."""

    def __init__(self) -> None:
        program = shutil.which("slapd") or shutil.which("slapd", path="/usr/sbin")
        assert program, "slapd is missing: scripts/install-test-tools installs it"
        self.folder = Path(tempfile.mkdtemp(prefix="stowage-slapd-"))
        (self.folder / "data").mkdir()
        self.tls: Certificate = make_certificate(self.folder / "tls")
        self.port, self.tls_port = free_port(), free_port()
        configuration = self.folder / "slapd.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                certificate=self.tls.certificate,
                key=self.tls.key,
                suffix=SUFFIX,
                root=ROOT,
                root_password=ROOT_PASSWORD,
                reader=READER,
            )
        )
        self._command = [program, "-f", str(configuration), "-h", f"{self.url}/ {self.tls_url}/", "-d", "0"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def start(self, within: float = 120.0) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + within
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"slapd did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def suspend(self) -> None:
        """Have it stand still: whoever asks waits."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def opened(self) -> Any:
        """Return a connection that may do everything."""
        server = ldap3.Server("127.0.0.1", port=self.port, get_info=ldap3.NONE)
        return ldap3.Connection(server, ROOT, ROOT_PASSWORD, auto_bind=ldap3.AUTO_BIND_NO_TLS, raise_exceptions=True)

    def fill(self) -> None:
        """Add the people and their groups."""
        connection = self.opened()
        connection.add(SUFFIX, ["domain"], {"dc": "test"})
        for folder in (PEOPLE, GROUPS):
            connection.add(folder, ["organizationalUnit"])
        secret = {"userPassword": READER_PASSWORD}
        connection.add(READER, ["applicationProcess", "simpleSecurityObject"], secret)
        for name, password in PASSWORDS.items():
            said = {"uid": name, "cn": name, "sn": name, "userPassword": password.encode()}
            connection.add(self.dn_of(name), ["inetOrgPerson"], said)
        groups = {
            "builders": ["alice", "bob", "erin"],
            "a (*) group": ["alice"],
            "caf\u00e9, ops": ["alice"],
            "empty": ["dora"],
        }
        for group, members in groups.items():
            said_of = {"member": [self.dn_of(name) for name in members]}
            connection.add(f"cn={_escaped(group)},{GROUPS}", ["groupOfNames"], said_of)
        connection.unbind()

    @staticmethod
    def dn_of(name: str) -> str:
        """Return somebody's entry."""
        return f"uid={_escaped(name)},{PEOPLE}"

    def __enter__(self) -> Self:
        self.start()
        self.fill()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _escaped(value: str) -> str:
    return value.replace(",", "\\,").replace("=", "\\=")
