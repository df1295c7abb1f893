"""What can't be used for TLS is said in one line."""

import shutil
import subprocess
from pathlib import Path

import pytest

from registry.http.sockets import CannotListen
from registry.http.tls import tls_context


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
