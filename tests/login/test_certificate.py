"""A certificate that is renewed while the server runs."""

import shutil
import ssl
from pathlib import Path

from tests.support.certificates import Certificate, make_certificate
from tests.support.served import eventually
from tests.support.server import ServerFactory, new_client

_CONNECTIONS = 8


def test_it_is_taken_by_every_worker_and_nobody_is_cut_off(fresh_server: ServerFactory, tmp_path: Path) -> None:
    old, new = (make_certificate(tmp_path / name) for name in ("old", "new"))
    shown, key = tmp_path / "certificate.pem", tmp_path / "key.pem"

    def put(made: Certificate) -> None:
        for source, place in ((made.certificate, shown), (made.key, key)):
            shutil.copy(source, tmp_path / "next")
            (tmp_path / "next").replace(place)

    put(old)
    server = fresh_server("--workers", "2", STOWAGE_HTTP__TLS__CERTIFICATE=str(shown), STOWAGE_HTTP__TLS__KEY=str(key))

    def seen() -> set[str]:
        return {ssl.get_server_certificate((server.host, server.port)) for _ in range(_CONNECTIONS)}

    with new_client(server) as client:
        assert client.get("/v2/").status_code == 200
        assert seen() == {_text(old)}
        put(new)
        eventually(lambda: server.log_file.read_text().count("was read again") == 2)
        assert seen() == {_text(new)}
        assert client.get("/v2/").status_code == 200


def _text(made: Certificate) -> str:
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(made.certificate.read_text()))
