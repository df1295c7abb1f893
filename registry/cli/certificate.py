"""Whether the files of `http.tls` can be served with, and for how long."""

import re
import ssl
import time
from pathlib import Path

from registry.cli.problems import Problem, error, warning
from registry.http.sockets import CannotListen
from registry.http.tls import tls_context
from registry.http_settings import TlsSettings

_SOON_S = 14 * 86400
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_…, openssl-verify(1)


def certificate_problems(tls: TlsSettings) -> list[Problem]:
    """Return what is wrong with the files, which are only read."""
    if tls.certificate is None:
        given = [name for name in ("key", "client_ca") if getattr(tls, name) is not None]
        return [
            warning("CertificateMissing", f"http.tls.{name} is set without http.tls.certificate: plain HTTP is served")
            for name in given
        ]
    missing = [
        error("CertificateMissing", f"http.tls.{name}: {cause}: bring {file} back, or name another file")
        for name, file in (("certificate", tls.certificate), ("key", tls.key), ("client_ca", tls.client_ca))
        if file is not None and (cause := _unreadable(file))
    ]
    if missing:
        return missing
    try:
        tls_context(tls.certificate, tls.key, tls.client_ca)
        served = tls_context(tls.certificate, tls.key)
    except CannotListen as problem:
        if "KEY_VALUES_MISMATCH" in str(problem):
            return [
                error("KeyMismatch", f"the key in {tls.key or tls.certificate} is not the one of {tls.certificate}")
            ]
        return [error("CertificateUnusable", str(problem))]
    return _validity(tls.certificate, served)


def first_certificate(file: Path) -> bytes:
    """Return the first certificate of a PEM file, the server's own, as DER; empty if there is none."""
    try:
        found = _CERTIFICATE.search(file.read_text(encoding="latin-1"))
        return ssl.PEM_cert_to_DER_cert(found[0]) if found else b""
    except (OSError, ValueError):
        return b""


def _unreadable(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as problem:
        return f"{file} can't be read: {problem.strerror}"
    return ""


def _validity(file: Path, served: ssl.SSLContext) -> list[Problem]:
    """Look at the certificate as a client that trusts it does: in a handshake, in memory."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        trusting.load_verify_locations(file)
        found = _shown_to(trusting, served)
    except ssl.SSLCertVerificationError as problem:
        if problem.verify_code == _EXPIRED:
            return [error("CertificateExpired", f"{file} has expired: renew it, then reload (SIGHUP)")]
        if problem.verify_code == _NOT_YET_VALID:
            return [
                error("CertificateNotYetValid", f"{file} is not valid yet: look at it, and at this machine's clock")
            ]
        return [warning("CertificateDoubtful", f"clients may refuse {file}: {problem.verify_message}")]
    except ssl.SSLError as problem:
        return [warning("CertificateDoubtful", f"clients may refuse {file}: {problem.reason}")]
    begins, ends = (ssl.cert_time_to_seconds(found[key]) for key in ("notBefore", "notAfter"))
    left = ends - time.time()
    if left < min(_SOON_S, (ends - begins) / 3):  # some live for days only, and are renewed every other day
        text = f"{file} expires in {left / 86400:.1f} days, on {found['notAfter']}: renew it, then reload (SIGHUP)"
        return [warning("CertificateExpiring", text)]
    return []


def _shown_to(trusting: ssl.SSLContext, served: ssl.SSLContext) -> dict[str, str]:
    """Return what the client of a handshake learns of the server's certificate. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = served.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):  # hello; hello and certificate; verification
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    found = client.getpeercert() or {}
    return {key: str(found[key]) for key in ("notBefore", "notAfter")}
