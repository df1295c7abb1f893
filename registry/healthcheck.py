"""`python -m registry.healthcheck`: ask the server of this configuration whether it lives, for an image's HEALTHCHECK.

It reads the environment, and the file that STOWAGE_CONFIG names, as the server does; what the server was told on its
command line it can't know. It imports little, since it runs every few seconds.
"""

import http.client
import ssl
import sys

from registry.settings import Settings, SettingsError, load_settings

_SECONDS = 4
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def problem(settings: Settings) -> str:
    """Ask `/healthz`. Return what is wrong in one line, or "" if the server answers 200."""
    asked = settings.http if settings.operations.port is None else settings.operations
    encrypted = asked is settings.http and settings.http.tls.certificate is not None
    if not asked.port:
        return "the port is 0, which takes another one at each start: give http.port or operations.port a number"
    host = _EVERYWHERE.get(asked.host, asked.host)
    where = f"{host} port {asked.port}"
    connection = http.client.HTTPConnection(host, asked.port, timeout=_SECONDS)  # heeds no proxy
    if encrypted:
        connection = http.client.HTTPSConnection(host, asked.port, timeout=_SECONDS, context=_unverified())
    try:
        connection.connect()
        if encrypted and settings.http.tls.client_ca is not None:
            return ""  # it took part in the handshake; without a certificate of its own, this check gets no further
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except ssl.SSLError as error:
        return f"{where}: no TLS: {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        return f"{where}: no answer: {error}"
    finally:
        connection.close()
    return "" if status == http.HTTPStatus.OK else f"{where}: GET /healthz answered {status}"


def _unverified() -> ssl.SSLContext:
    """Whatever certificate is shown is taken: it is made out for the name that clients use, not for loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main() -> None:
    """Exit with status 0 if the server lives, else with 1 and a line that says what is wrong."""
    try:
        found = problem(load_settings())
    except SettingsError as error:
        found = "; ".join(str(error).splitlines())
    if found:
        sys.exit(f"healthcheck: {found}")


if __name__ == "__main__":
    main()
