"""An identity provider for tests: npm's oidc-provider on a free port, and a browser that logs in there."""

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx

from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
CLIENT_SECRET = "a secret: with/signs&more"


class Provider:
    """The provider. Whoever says a name there is let in as that one.

    Args:
        redirect_url: where it sends people back to, and nowhere else.
        client_id: `tells-all` has it put all claims into its tokens; else it tells some when asked.
    """

    def __init__(self, redirect_url: str, client_id: str = "stowage") -> None:
        self.client_id = client_id
        self.port = free_port()
        self.redirect_url = redirect_url
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The issuer."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        program = shutil.which("node")
        assert program, "node is missing: scripts/install-test-tools installs it"
        tools = Path(os.environ.get("STOWAGE_TOOLS", ROOT / ".tools"))
        folder = (tools / "oidc-provider").resolve()
        assert folder.exists(), "oidc-provider is missing: scripts/install-test-tools installs it"
        command = [program, "--no-warnings", str(ROOT / "tests/support/provider.mjs"), str(folder), str(self.port)]
        self._process = subprocess.Popen(
            [*command, self.redirect_url, self.client_id, CLIENT_SECRET],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if line.strip() == "ready":
                threading.Thread(target=self._process.stdout.read, daemon=True).start()
                return
        raise RuntimeError(f"oidc-provider did not start:\n{''.join(said)[-2000:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(120)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def log_in(self, url: str, name: str) -> str:
        """Do as a browser does that was sent to `url`: say a name, agree, and return where it is sent back to."""
        with httpx.Client(trust_env=False, timeout=120) as browser:
            answer = browser.get(url)
            for _ in range(20):
                if answer.is_redirect:
                    url = urljoin(str(answer.url), answer.headers["location"])
                    if url.startswith(self.redirect_url):
                        return url
                    answer = browser.get(url)
                    continue
                form = re.search(r'action="([^"]+)"', answer.text)
                prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
                assert form and prompt, f"{answer.status_code} {answer.url}: {answer.text[:2000]}"
                said = {"prompt": prompt[1], "login": name, "password": "whatever"}
                answer = browser.post(urljoin(str(answer.url), form[1]), data=said)
        raise AssertionError("the provider sends its visitor in circles")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
