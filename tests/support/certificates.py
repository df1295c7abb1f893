"""Certificates of one's own making, valid when a test wants them to be."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

_CONFIGURATION = """
[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = IP:127.0.0.1, DNS:localhost
"""


class Certificate(NamedTuple):
    """PEM files. The certificate is alone in its folder, as `*.crt`, where podman and skopeo look for whom to trust."""

    certificate: Path
    key: Path

    @property
    def folder(self) -> Path:
        """What `--cert-dir` takes."""
        return self.certificate.parent


def make_certificate(
    folder: Path, name: str = "ca", *, begins: timedelta = timedelta(days=-1), ends: timedelta = timedelta(days=90)
) -> Certificate:
    """Make a certificate for 127.0.0.1 and localhost that signs itself. `begins` and `ends` count from now."""
    tool = shutil.which("openssl")
    assert tool, "openssl is not installed"
    private = folder / "private"
    work = private / name
    work.mkdir(parents=True)
    (work / "index").touch()
    (work / "config").write_text(_CONFIGURATION.format(folder=work))
    made, request = Certificate(folder / f"{name}.crt", private / f"{name}.key"), work / "request"
    now = datetime.now(UTC)
    start, end = (f"{now + moment:%Y%m%d%H%M%SZ}" for moment in (begins, ends))
    for command in (
        [
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-keyout", str(made.key), "-out", str(request)),
        ],
        [
            *("ca", "-config", str(work / "config"), "-batch", "-notext", "-selfsign", "-keyfile", str(made.key)),
            *("-in", str(request), "-out", str(made.certificate), "-startdate", start, "-enddate", end),
        ],
    ):
        subprocess.run([tool, *command], check=True, capture_output=True)
    return made
