"""A certificate for 127.0.0.1, made for a test."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """PEM files, in a folder in which the certificate is also there as `ca.crt`, where podman and skopeo look."""

    certificate: Path
    key: Path

    @property
    def folder(self) -> Path:
        """What `--cert-dir` takes."""
        return self.certificate.parent


def make_certificate(folder: Path) -> Certificate:
    """Make a self-signed certificate in a new folder."""
    folder.mkdir(parents=True)
    made = Certificate(folder / "ca.crt", folder / "private" / "tls.key")
    made.key.parent.mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"),
            *("-keyout", str(made.key), "-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return made
