"""Traces of real servers, sent to a real collector."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.cli.test_metrics import push_image
from tests.support.collector import Collector, attributes
from tests.support.served import Connection, eventually
from tests.support.server import ROOT, Connect, ServerFactory

QUICKLY = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def test_requests_become_spans_below_the_caller_s(fresh_server: ServerFactory, connect: Connect) -> None:
    with Collector() as collector:
        server = fresh_server(
            "--workers",
            "2",
            STOWAGE_TRACING__ENDPOINT=collector.url,
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            OTEL_EXPORTER_OTLP_HEADERS="x-tenant=one",
            **QUICKLY,
        )
        client = connect(server)
        client.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
        push_image(client, "a/b")
        client.get("/v2/a/b/manifests/1?token=s3cret", headers={"X-Request-Id": "mine"})
        client.get("/v2/a/b/manifests/none")
        eventually(lambda: len(collector.named("GET manifest")) == 2)
        (found,) = (one for one in collector.named("GET manifest") if attributes(one.attributes)["url.path"][-1] == "1")
        assert (found.trace_id.hex(), found.parent_span_id.hex()) == (TRACE, PARENT)
        assert found.kind == Span.SPAN_KIND_SERVER
        assert 0 < found.end_time_unix_nano - found.start_time_unix_nano < 60 * 10**9
        assert attributes(found.attributes) == {
            "http.request.method": "GET",
            "http.route": "manifest",
            "http.response.status_code": "200",
            "url.path": "/v2/a/b/manifests/1",
            "url.scheme": "http",
            "network.protocol.version": "1.1",
            "client.address": "127.0.0.1",
            "stowage.request_id": "mine",
        }
        assert all(one.status.code == Status.STATUS_CODE_UNSET for one in collector.named("GET manifest"))
        eventually(lambda: len(collector.named("PUT manifest")) == 1)
        (put,), (post,) = collector.named("PUT manifest"), collector.named("POST uploads")
        parts = {(one.name, one.parent_span_id) for one in collector.spans if one.trace_id.hex() == TRACE}
        assert ("database write", put.span_id) in parts
        assert all(one.parent_span_id for one in collector.spans if one.name == "database write"), "a job's is told"
        assert {("database write", post.span_id), ("storage publish", post.span_id)} <= parts
        assert collector.paths == {"/v1/traces"}
        assert collector.headers["x-tenant"] == "one"
        resource = collector.resources[-1]
        assert resource["service.name"] == "stowage"
        assert resource["deployment.environment.name"] == "test"
        log = server.log_file.read_text()
        assert "Failed to detach" not in log and "could not be recorded" not in log


def test_every_worker_sends_and_sends_the_rest_at_its_end(fresh_server: ServerFactory) -> None:
    with Collector() as collector:
        server = fresh_server(
            "--workers",
            "2",
            STOWAGE_TRACING__ENDPOINT=f"{collector.url}/own/path",
            OTEL_SERVICE_NAME="named",
            OTEL_BSP_SCHEDULE_DELAY="600000",
        )
        for _ in range(30):
            with Connection(server.port) as connection:
                connection.ask("/v2/")
                assert connection.answer().status == 200
        assert collector.named("GET support") == []  # it would be in ten minutes
        assert server.stop() == 0
        assert len(collector.named("GET support")) == 30
        assert len({one.span_id for one in collector.named("GET support")}) == 30
        assert len(collector.resources) >= 2
        assert collector.paths == {"/own/path"}
        assert collector.resources[-1]["service.name"] == "named"


def test_the_caller_decides_before_the_share_does(fresh_server: ServerFactory, connect: Connect) -> None:
    with Collector() as collector:
        server = fresh_server("--workers", "1", STOWAGE_TRACING__ENDPOINT=collector.url, STOWAGE_TRACING__SAMPLE="0")
        client = connect(server)
        for decision in ("00", "01", "00"):
            client.get("/v2/", headers={"traceparent": f"00-{TRACE}-{PARENT}-{decision}"})
        client.get("/v2/a/tags/list", headers={"traceparent": "00-nonsense"})
        assert server.stop() == 0
        assert [one.name for one in collector.spans] == ["GET support"]


def test_a_collector_that_hangs_hurts_nobody(fresh_server: ServerFactory, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = fresh_server("--workers", "1", STOWAGE_TRACING__ENDPOINT=endpoint, **QUICKLY)
        client = connect(server)
        for _ in range(50):
            assert client.get("/v2/").status_code == 200
        push_image(client, "a/b")
        assert server.stop() == 0
        assert "the last traces are lost" in server.log_file.read_text()


def test_nothing_of_it_is_loaded_where_it_is_not_configured(tmp_path: Path) -> None:
    code = """
import sys
from registry.cli import serve
from registry.main import build_app, new_board
from registry.metrics.figures import Figures
from registry.settings import load_settings
board = new_board()
build_app(load_settings(), "instance", Figures(board, board.take()))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "google", "prometheus_client"}))
"""
    environment = {**os.environ, "STOWAGE_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
