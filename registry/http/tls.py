"""TLS as the server speaks it, from PEM files."""

import ssl
from pathlib import Path

from registry.http.sockets import CannotListen


def tls_context(certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return a server's context. Made before workers are forked, it lets a client resume at any of them.

    Args:
        certificate: PEM file of the certificate and its chain.
        key: PEM file of its key, when that is not in `certificate`.
        client_ca: PEM file of the authorities one of which must have signed every client's certificate.

    Raises:
        CannotListen: a file can't be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key under a password is an error: OpenSSL would else ask for it on the terminal, and wait.
        context.load_cert_chain(certificate, key, password=bytes)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # SSLError is one
        files = ", ".join(str(file) for file in (certificate, key, client_ca) if file is not None)
        cause = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise CannotListen(f"cannot serve TLS: {cause}: check {files}") from error
    return context
