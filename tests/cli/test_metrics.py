"""`/metrics` of real servers: right across workers, whatever becomes of them, and to nobody but who may read it."""

import hashlib
import json
import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from registry import __version__
from tests.support.images import OCI_CONFIG, OCI_MANIFEST
from tests.support.ports import free_port
from tests.support.scrape import Scrape
from tests.support.served import Connection, eventually
from tests.support.server import ROOT, Connect, Server, ServerFactory
from tests.support.workers import children, worker_of

PATIENCE = 60.0


def to_each_worker(opened: ExitStack, server: Server) -> dict[int, Connection]:
    """A connection to each worker, by its process id. Each has been asked for `/v2/` at least once.

    All that was asked before must have been counted; all that is asked here has been.
    """
    workers = children(server.pid)
    found: dict[int, Connection] = {}
    asked = supports(server)
    while len(found) < len(workers):
        connection = opened.enter_context(Connection(server.port))
        connection.ask("/v2/")
        assert connection.answer().status == 200
        asked += 1
        worker = worker_of(connection.socket, workers)
        assert worker is not None
        if found.setdefault(worker, connection) is not connection:
            connection.close()
    eventually(lambda: supports(server) == asked, PATIENCE)  # a request is counted once it is answered
    return found


def supports(server: Server) -> float:
    return Scrape.of(server.url).value("http_requests_total", route="support", method="GET", code="200")


def push_image(client: httpx.Client, repository: str) -> tuple[bytes, bytes]:
    """Push a config and a manifest; returns both."""
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    pushed = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=config)
    assert pushed.status_code == 201
    descriptor = {"mediaType": OCI_CONFIG, "digest": digest, "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor, "layers": []}
    content = json.dumps(manifest).encode()
    done = client.put(f"/v2/{repository}/manifests/1", content=content, headers={"content-type": OCI_MANIFEST})
    assert done.status_code == 201
    return config, content


def test_every_worker_tells_the_sum_of_all_and_a_dead_one_takes_nothing_with_it(fresh_server: ServerFactory) -> None:
    server = fresh_server("--workers", "2")
    with ExitStack() as opened:
        connections = to_each_worker(opened, server)
        assert len(connections) == 2
        before = supports(server)
        for number, connection in enumerate(connections.values()):
            for _ in range(100 + number):
                connection.ask("/v2/")
                assert connection.answer().status == 200
        eventually(lambda: supports(server) == before + 201, PATIENCE)
        for connection in connections.values():
            connection.ask("/metrics")
            told = Scrape(connection.answer().body.decode())
            assert told.value("http_requests_total", route="support") == before + 201
            assert told.labels("process_cpu_seconds_total", "process") == {"worker-1", "worker-2", "supervisor"}
            assert told.value("http_connections") >= 2
        victim = next(iter(connections))
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(set(children(server.pid)) - {victim}) == 2, PATIENCE)
    assert supports(server) == before + 201
    with ExitStack() as opened:
        connections = to_each_worker(opened, server)
        asked = supports(server)
        for connection in connections.values():
            for _ in range(10):
                connection.ask("/v2/")
                assert connection.answer().status == 200
        eventually(lambda: supports(server) == asked + 20, PATIENCE)
        eventually(
            lambda: Scrape.of(server.url).value("http_connections") == 3, PATIENCE
        )  # these two, and the scrape's own
    eventually(lambda: Scrape.of(server.url).value("http_connections") == 1, PATIENCE)


def test_a_reload_sets_nothing_back_though_old_workers_and_new_ones_count_at_once(
    fresh_server: ServerFactory,
) -> None:
    server = fresh_server("--workers", "2")
    with ExitStack() as opened:
        connections = to_each_worker(opened, server)
        known = supports(server) + len(connections)
        for connection in connections.values():
            connection.ask("/v2/")
            assert connection.answer().status == 200
    assert known >= 4
    eventually(lambda: supports(server) == known, PATIENCE)
    for turn in range(1, 4):
        before = children(server.pid)
        os.kill(server.pid, signal.SIGHUP)
        eventually(lambda turn=turn: server.log_tail().count("reloaded") == turn, PATIENCE)  # type: ignore[misc]  # a lambda's default
        eventually(lambda before=before: not set(before) & set(children(server.pid)), PATIENCE)  # type: ignore[misc]  # a lambda's default
        assert supports(server) == known
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            assert client.get("/v2/").status_code == 200
        known += 1
        eventually(lambda known=known: supports(server) == known)  # type: ignore[misc]  # a lambda's default


def test_what_is_told_of_requests(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server("--workers", "1")
    client = connect(server)
    config, manifest = push_image(client, "a/b")
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    for target in ("manifests/1", "manifests/none", f"blobs/{digest}", f"blobs/{digest}"):
        client.get(f"/v2/a/b/{target}")
    client.head("/v2/a/b/manifests/1")
    started = client.post("/v2/a/b/blobs/uploads/")
    client.patch(started.headers["location"], content=b"x" * 5000)
    client.request("BREW", "/v2/")
    client.request("PROPFIND", "/v2/")
    client.get("/nothing/here")
    client.get(f"/v2/{'x/' * 100}tags/list")
    told = Scrape.of(server.url)

    def count(route: str, method: str, code: str) -> float:
        return told.value("http_requests_total", route=route, method=method, code=code)

    assert count("manifest", "PUT", "201") == 1
    assert count("manifest", "GET", "200") == count("manifest", "GET", "404") == count("manifest", "HEAD", "200") == 1
    assert count("blob", "GET", "200") == 2
    assert count("uploads", "POST", "201") == count("uploads", "POST", "202") == count("upload", "PATCH", "202") == 1
    assert count("none", "GET", "404") == 1
    assert count("none", "other", "405") == 1  # PROPFIND: a method that the parser knows
    assert count("none", "other", "400") == 1  # BREW: one that it does not know
    assert told.value("http_request_bytes_total", route="upload", method="PATCH") == 5000
    assert told.value("http_request_bytes_total", route="manifest") == len(manifest)
    assert told.value("http_response_bytes_total", route="manifest", method="HEAD") == 0
    assert told.value("http_response_bytes_total", route="blob", method="GET") == 2 * len(config)
    assert told.value("http_request_duration_seconds_count", route="manifest", method="GET") == 2
    bucket = told.value("http_request_duration_seconds_bucket", route="manifest", method="GET", le="+Inf")
    assert bucket == 2
    assert 0 < told.value("http_request_duration_seconds_sum", route="manifest", method="GET") < 60
    assert told.value("upload_sessions") == 1
    assert told.value("build_info", version=__version__) == 1
    assert told.value("database_write_duration_seconds_count") >= 4
    assert told.value("database_batches_total") >= 4
    assert 1 <= told.value("database_read_duration_seconds_count") <= 100
    assert told.value("storage_operation_duration_seconds_count", operation="publish") == 1
    # Two for the GETs, and one for the push of the manifest, which reads its config's labels.
    assert told.value("cache_hits_total") + told.value("cache_misses_total") == 3
    assert told.value("http_requests_in_progress") == 1  # the scrape itself
    assert told.value("process_resident_memory_bytes", process="worker-1") > 10_000_000
    jobs = {"orphans", "stale-uploads", "old-events", "collection", "backup", "scrub", "signing-keys", "old-logins"}
    jobs |= {"quotas", "audit", "sequence", "expire", "retain"}
    assert told.labels("job_failures_total", "name") == jobs
    eventually(lambda: Scrape.of(server.url).value("job_duration_seconds_count", name="orphans") == 1, PATIENCE)
    assert Scrape.of(server.url).value("job_last_success_timestamp_seconds", name="orphans") > 1_700_000_000


def test_labels_do_not_grow_with_what_clients_make_up(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server("--workers", "1")
    client = connect(server)
    for word in ("GET", "PROPFIND", "MKCOL"):
        client.request(word, "/v2/made-up/manifests/x")  # what comes later makes no new series
        client.request(word, "/made-up")
    series = len(Scrape.of(server.url).families["stowage_http_requests"].samples)
    for number in range(30):
        client.get(f"/v2/made-up-{number}/manifests/{number}")
        client.get(f"/{number}")
    assert len(Scrape.of(server.url).families["stowage_http_requests"].samples) <= series + 1  # and the first scrape


def test_a_transfer_that_is_cut_counts_what_was_sent(fresh_server: ServerFactory, connect: Connect) -> None:
    server = fresh_server("--workers", "1")
    content = os.urandom(1024) * 64 * 1024  # 64 MiB: more than the kernel takes at once
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    pushed = connect(server).post("/v2/a/blobs/uploads/", params={"digest": digest}, content=content)
    assert pushed.status_code == 201
    with Connection(server.port, receive_buffer=4096) as connection:
        connection.ask(f"/v2/a/blobs/{digest}")
        assert connection.head()[0] == 200
        connection.read(100_000)
        eventually(lambda: Scrape.of(server.url).value("http_requests_in_progress", route="blob") == 1, PATIENCE)
    eventually(lambda: Scrape.of(server.url).value("http_responses_cut_total") == 1, PATIENCE)
    told = Scrape.of(server.url)
    assert 100_000 <= told.value("http_response_bytes_total", route="blob") < len(content)
    assert told.value("http_requests_in_progress", route="blob") == 0
    assert told.value("http_request_bytes_total", route="uploads") == len(content)

    with Connection(server.port) as connection:
        connection.ask("/v2/a/blobs/uploads/", "POST", "Content-Length: 5\r\n", b"ab")
        connection.ask("/v2/")
    client = connect(server)
    started = client.post("/v2/a/blobs/uploads/")
    with Connection(server.port) as connection:
        connection.ask(started.headers["location"], "PATCH", "Content-Length: 500000\r\n", b"x" * 1000)
        eventually(lambda: Scrape.of(server.url).value("http_requests_in_progress", route="upload") == 1, PATIENCE)
    eventually(lambda: Scrape.of(server.url).value("http_requests_total", route="upload", code="499") == 1, PATIENCE)
    assert Scrape.of(server.url).value("http_request_bytes_total", route="upload") == 1000


def test_who_may_read_it(client: httpx.Client, fresh_server: ServerFactory, connect: Connect) -> None:
    assert client.get("/metrics").status_code == 200
    for header in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"):
        refused = client.get("/metrics", headers={header: "for=127.0.0.1" if header == "Forwarded" else "127.0.0.1"})
        assert refused.status_code == 403, header
        assert "stowage_" not in refused.text
    behind = fresh_server(
        "--workers",
        "1",
        STOWAGE_HTTP__TRUSTED_PROXIES="127.0.0.0/8",
        STOWAGE_METRICS__NETWORKS="192.0.2.0/24",
    )
    proxied = connect(behind)
    assert proxied.get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 200
    assert proxied.get("/metrics", headers={"X-Forwarded-For": "198.51.100.7"}).status_code == 403
    assert proxied.get("/metrics", headers={"X-Forwarded-For": "nonsense"}).status_code == 403
    off = connect(fresh_server("--workers", "1", STOWAGE_METRICS__ENABLED="false"))
    assert off.get("/metrics").status_code == 404
    assert off.get("/v2/").headers["x-request-id"]


def test_a_port_for_operators(fresh_server: ServerFactory, connect: Connect, tmp_path: Path) -> None:
    port = free_port()
    server = OperatedServer(tmp_path / "operated", port)
    try:
        server.start()
        client = connect(server)
        own = f"http://127.0.0.1:{port}"
        for path in ("/metrics", "/healthz", "/readyz"):
            assert httpx.get(own + path, trust_env=False, timeout=60).status_code == 200, path
            assert client.get(path).status_code == 404, path
        assert httpx.get(f"{own}/v2/", trust_env=False, timeout=60).status_code == 404
        forwarded = {"X-Forwarded-For": "192.0.2.1"}
        assert httpx.get(f"{own}/metrics", headers=forwarded, trust_env=False, timeout=60).status_code == 200
        assert client.get("/v2/").status_code == 200
        eventually(lambda: Scrape.of(own).value("http_requests_total", route="support") == 1, PATIENCE)
        assert Scrape.of(own).value("http_requests_total", route="readyz", code="200") >= 1
        before = children(server.pid)
        os.kill(server.pid, signal.SIGHUP)
        eventually(lambda: not set(before) & set(children(server.pid)), PATIENCE)
        assert Scrape.of(own).value("http_requests_total", route="support") == 1
        with ExitStack() as opened:  # operators are let in when nobody else is
            for _ in range(40):
                opened.enter_context(Connection(server.port)).send(b"GET /v2/ HTTP/1.1\r\n")
            for _ in range(20):
                assert httpx.get(f"{own}/healthz", trust_env=False, timeout=60).status_code == 200
        for worker in children(server.pid):
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: Scrape.of(own).value("http_requests_total", route="support") == 1, PATIENCE)
        assert server.stop() == 0
    finally:
        server.kill()


class OperatedServer(Server):
    """One with a port for operators, and with no room for many others."""

    def __init__(self, folder: Path, port: int) -> None:
        settings = {"STOWAGE_OPERATIONS__PORT": str(port), "STOWAGE_HTTP__LIMITS__CONNECTIONS": "3"}
        super().__init__(folder, settings, ("--workers", "2"))
        self._operations = f"http://127.0.0.1:{port}"

    def _wait_until_ready(self, seconds: float) -> None:
        def is_ready() -> bool:
            try:
                return httpx.get(f"{self._operations}/readyz", trust_env=False, timeout=60).status_code == 200
            except httpx.TransportError:
                return False

        eventually(lambda: self._has_greeted() and is_ready(), seconds)


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=1.0.0", "application/openmetrics-text"])
def test_openmetrics_where_it_is_asked_for(server: Server, client: httpx.Client, accept: str) -> None:
    answer = client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = read_openmetrics(answer.text)  # type: ignore[no-untyped-call]  # the library says nothing of it
    assert {one.name for one in families} >= {"stowage_http_requests", "stowage_build_info"}
    plain = client.get("/metrics", headers={"accept": "text/plain; version=9\\r\\nx: y"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")


def exposed(url: str) -> dict[str, set[str]]:
    """Every name of a sample that there can be, with the labels it has; from `# TYPE` and the samples."""
    found: dict[str, set[str]] = {}
    for family in Scrape.of(url).families.values():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        labels = {label for sample in family.samples for label in sample.labels}
        found |= {family.name + suffix: labels for suffix in suffixes}
    return found


def expressions() -> list[tuple[str, str]]:
    """Every query of the dashboard and of the alerts, with where it is from."""
    dashboard = json.loads((ROOT / "deploy/grafana/stowage.json").read_text())
    found = [(panel["title"], t["expr"]) for panel in dashboard["panels"] for t in panel.get("targets", [])]
    found += [("variable", one["definition"]) for one in dashboard["templating"]["list"] if "definition" in one]
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
    return found + [(rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"]]


def test_dashboard_and_alerts_ask_for_what_there_is(server: Server, client: httpx.Client) -> None:
    push_image(client, "observed/names")
    names = exposed(server.url)
    asked = expressions()
    assert len(asked) > 30
    known = {"instance", "le", "job", "webhook", *(label for labels in names.values() for label in labels)}
    for where, expression in asked:
        used = set(re.findall(r"\bstowage_\w+", expression))
        assert used <= set(names), f"{where}: {used - set(names)}"
        assert used or "up{" in expression, where
        for name, selector in re.findall(r"\b(stowage_\w+)\{([^}]*)\}", expression):
            matched = set(re.findall(r"(\w+)=", selector)) - {"instance"}
            assert matched <= names[name], f"{where}: {name} has no label {matched - names[name]}"
        for grouping in re.findall(r"by \(([^)]*)\)", expression):
            assert set(grouping.replace(" ", "").split(",")) <= known, where


def test_every_metric_is_documented(server: Server) -> None:
    documented = re.findall(r"^\| `(stowage_\w+)`.* \| (\w+) \| (.*) \|$", (ROOT / "docs/observe.md").read_text(), re.M)
    families = Scrape.of(server.url).families.values()
    expected = [
        (one.name + ("_total" if one.type == "counter" else ""), one.type, one.documentation) for one in families
    ]
    assert documented == expected
