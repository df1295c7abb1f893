"""Certificates as `stowage check` sees them: made with openssl, looked at in a handshake."""

from datetime import timedelta
from pathlib import Path

import pytest

from registry.cli.certificate import certificate_problems, first_certificate
from registry.http_settings import TlsSettings
from tests.support.certificates import make_certificate


def found(certificate: Path | None, key: Path | None = None, client_ca: Path | None = None) -> list[tuple[str, str]]:
    problems = certificate_problems(TlsSettings(certificate=certificate, key=key, client_ca=client_ca))
    return [(problem.severity, problem.reason) for problem in problems]


def test_a_good_certificate_is_good_alone_and_with_others(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    other, _ = make_certificate(tmp_path, "other", ends=timedelta(days=-0.5))
    assert found(certificate, key) == []
    assert found(certificate, key, client_ca=other) == []
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + certificate.read_text() + other.read_text())
    assert found(both) == []
    assert first_certificate(both) == first_certificate(certificate) != first_certificate(other)


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        (-30, -1, [("error", "CertificateExpired")]),
        (1, 30, [("error", "CertificateNotYetValid")]),
        (-80, 10, [("warning", "CertificateExpiring")]),
        (-50, 40, []),
        (-1, 5, []),
        (-5, 1, [("warning", "CertificateExpiring")]),
    ],
    ids=["expired", "future", "ten days left", "forty left", "made for six days", "one of six left"],
)
def test_time_is_up_or_nearly(tmp_path: Path, begins: int, ends: int, expected: list[tuple[str, str]]) -> None:
    made = make_certificate(tmp_path, begins=timedelta(days=begins), ends=timedelta(days=ends))
    assert found(*made) == expected


def test_what_is_missing_or_does_not_belong_together_is_named(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    other, other_key = make_certificate(tmp_path, "other")
    assert found(certificate, other_key) == [("error", "KeyMismatch")]
    assert found(other) == [("error", "CertificateUnusable")]
    assert found(tmp_path / "none", tmp_path / "nokey") == [("error", "CertificateMissing")] * 2
    assert found(certificate, key, tmp_path) == [("error", "CertificateMissing")]
    (tmp_path / "words").write_text("no certificate")
    assert found(tmp_path / "words", key) == [("error", "CertificateUnusable")]
    assert first_certificate(tmp_path / "words") == b""


def test_a_key_without_a_certificate_is_no_tls(tmp_path: Path) -> None:
    assert found(None, tmp_path / "key") == [("warning", "CertificateMissing")]
    assert found(None) == []
