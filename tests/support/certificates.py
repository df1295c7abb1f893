"""Certificates of one's own making, valid when a test wants them to be."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

_CONFIGURATION = """
[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def make_certificate(
    folder: Path, name: str = "c", *, begins: timedelta = timedelta(days=-1), ends: timedelta = timedelta(days=90)
) -> tuple[Path, Path]:
    """Make a certificate that signs itself. `begins` and `ends` count from now.

    Returns:
        The files of the certificate and of its key, in `folder`.
    """
    tool = shutil.which("openssl")
    assert tool, "openssl is not installed"
    work = folder / f"{name}.openssl"
    work.mkdir(parents=True)
    (work / "index").touch()
    (work / "config").write_text(_CONFIGURATION.format(folder=work))
    certificate, key, request = folder / f"{name}.pem", folder / f"{name}.key", work / "request"
    now = datetime.now(UTC)
    start, end = (f"{now + moment:%Y%m%d%H%M%SZ}" for moment in (begins, ends))
    for command in (
        [
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(request)),
        ],
        [
            *("ca", "-config", str(work / "config"), "-batch", "-notext", "-selfsign", "-keyfile", str(key)),
            *("-in", str(request), "-out", str(certificate), "-startdate", start, "-enddate", end),
        ],
    ):
        subprocess.run([tool, *command], check=True, capture_output=True)
    return certificate, key
