"""An S3 server for tests: versitygw on loopback, with a folder and a port of its own."""

import atexit
import functools
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import boto3
import httpx
from botocore.config import Config

from tests.support.ports import free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY_ID = "stowage-tests"
SECRET_ACCESS_KEY = "not-a-secret-5b1e"
REGION = "us-east-1"
BUCKET = "registry"
_PROGRAM = Path(__file__).resolve().parents[2] / ".tools/bin/versitygw"


class S3Error(Exception):
    """The S3 server did not come up."""


class S3Server:
    """One server on one folder, with an empty bucket `registry`.

    Args:
        folder: where the data and the log go; made when missing. Its filesystem must know extended attributes.
    """

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log_file = folder / "versitygw.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (self.data / BUCKET).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it answers. Raises S3Error."""
        if not _PROGRAM.exists():
            raise S3Error(f"versitygw is missing: run scripts/install-test-tools ({_PROGRAM})")
        command = [str(_PROGRAM), "--port", f"127.0.0.1:{self.port}", "--region", REGION, "--keep-alive", "--quiet"]
        command += ["--access", ACCESS_KEY_ID, "--secret", SECRET_ACCESS_KEY, "posix", str(self.data)]
        command = ["setpriv", "--pdeathsig=KILL", *command]  # it ends with the thread that starts it
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                httpx.get(self.url, timeout=10, trust_env=False)
                return
            except httpx.TransportError:
                time.sleep(0.02)
        self.stop()
        raise S3Error(f"versitygw did not come up: {self.log_file.read_text(errors='replace')[-2000:]}")

    def folder(self, prefix: str = "") -> Path:
        """Where versitygw keeps the objects with a prefix, each as a file of its name."""
        return self.data / BUCKET / prefix

    def suspend(self) -> None:
        """Have it take connections, and answer nobody, until it is resumed or stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def client(self) -> "S3Client":
        """A client, to look into the bucket with."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


@functools.cache
def shared_s3() -> S3Server:
    """The S3 server of this process, which ends with it; or with the thread that asks first."""
    folder = Path(tempfile.mkdtemp(prefix="stowage-s3-"))
    server = S3Server(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    return server


def server_settings(endpoint: str, prefix: str = "", **more: str) -> Mapping[str, str]:
    """Environment variables for a Stowage server on the bucket; `more`: settings of `storage.s3`, like `redirect`."""
    given: dict[str, Any] = {
        "bucket": BUCKET,
        "endpoint": endpoint,
        "region": REGION,
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
        **({"prefix": prefix} if prefix else {}),
        **more,
    }
    settings = {f"STOWAGE_STORAGE__S3__{name.upper()}": str(value) for name, value in given.items()}
    return {"STOWAGE_STORAGE__DRIVER": "s3", **settings}
