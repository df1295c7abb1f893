"""TLS as the server speaks it, from PEM files; the certificate is read again when its file changes."""

import logging
import ssl
from pathlib import Path

from registry.http.sockets import CannotListen

_logger = logging.getLogger("stowage.tls")

_Stamp = tuple[tuple[int, int, int], ...]


class ServerTls:
    """A server's context. Made before workers are forked, it lets a client resume at any of them.

    TLS 1.2 is the oldest version spoken.

    Args:
        certificate: PEM file of the certificate and its chain.
        key: PEM file of its key, when that is not in `certificate`.
        client_ca: PEM file of the authorities one of which must have signed every client's certificate. It is read
            once: an authority can't be taken out of a context.

    Raises:
        CannotListen: a file can't be read or used.
    """

    def __init__(self, certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key
        self._stamp = self._look()
        self._refused: _Stamp | None = None
        self.context = tls_context(certificate, key, client_ca)

    def refresh(self) -> bool:
        """Take the certificate into use, if its file or its key's has changed; say whether it was.

        Connections that are there go on with the one that they have. What can't be used is logged, once, and the one
        before stays.
        """
        stamp = self._look()
        if stamp in (self._stamp, self._refused):
            return False
        try:
            tls_context(self._certificate, self._key, None)  # or a key that does not fit would be half taken
            self.context.load_cert_chain(self._certificate, self._key, password=bytes)
        except (CannotListen, OSError) as error:
            self._refused = stamp
            _logger.error("the new certificate is not taken, the one before stays: %s", error)
            return False
        self._stamp, self._refused = stamp, None
        _logger.info("the certificate %s was read again", self._certificate)
        return True

    def _look(self) -> _Stamp:
        try:
            found = [file.stat() for file in (self._certificate, self._key) if file is not None]
        except OSError:  # in the middle of being replaced, or gone: to load it says which
            return ()
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


def tls_context(certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return a server's context. Raises CannotListen: a file can't be read or used."""
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
