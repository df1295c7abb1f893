"""What can't be used for TLS is said in one line, and what was renewed is taken."""

import shutil
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from registry.http.sockets import CannotListen
from registry.http.tls import ServerTls, tls_context
from tests.support.certificates import make_certificate


def _refused(certificate: Path, key: Path | None = None) -> str:
    with pytest.raises(CannotListen) as caught:
        tls_context(certificate, key)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "missing.pem" in _refused(tmp_path / "missing.pem")
    (tmp_path / "wrong.pem").write_text("not PEM")
    assert "wrong.pem" in _refused(tmp_path / "wrong.pem")


def test_a_key_under_a_password_is_refused_without_asking(tmp_path: Path) -> None:
    tool = shutil.which("openssl")
    assert tool, "openssl is not installed"
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [tool, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-passout", "pass:secret", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    assert "key.pem" in _refused(certificate, key)


def _shown(tls: ServerTls) -> bytes:
    """What a client that connects now is shown, through memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(to_client, to_server)
    server = tls.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def _contents(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def test_a_renewed_certificate_is_taken_and_a_wrong_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, other = (make_certificate(tmp_path / name) for name in ("first", "second", "other"))
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"

    def put(source: Path, place: Path) -> None:
        shutil.copy(source, tmp_path / "new")
        (tmp_path / "new").replace(place)

    put(first.certificate, certificate)
    put(first.key, key)
    tls = ServerTls(certificate, key)
    assert not tls.refresh()
    put(second.certificate, certificate)
    assert not tls.refresh()  # the key is still the old one
    assert not tls.refresh()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert _shown(tls) == _contents(first.certificate)
    put(second.key, key)
    assert tls.refresh()
    assert _shown(tls) == _contents(second.certificate)
    certificate.unlink()
    assert not tls.refresh()
    put(other.certificate, certificate)
    put(other.key, key)
    assert tls.refresh()
    assert _shown(tls) == _contents(other.certificate)
