"""What is still in the storage after jobs had the time to clean up."""

from contextlib import suppress

from registry.jobs import orphans, stale_uploads
from tests.support.served import eventually
from tests.support.server import Server

_LONG_S = 30 * 86400
_JOBS = {orphans.NAME, stale_uploads.NAME}


def leftovers(server: Server) -> list[str]:
    """Let a month pass, so that all upload sessions end and jobs clean up; return a line for what is left for nothing.

    The server is restarted.
    """
    server.stop()
    _age(server)
    server.start()
    eventually(lambda: {name for (name,) in server.sql("SELECT name FROM jobs WHERE due_at > 0")} >= _JOBS, 180)
    # A bucket is tidied up after the rows.
    with suppress(AssertionError):
        eventually(lambda: not server.stored.uploads(), 20)
    left = [f"{name}: an upload without a session" for name in server.stored.uploads()]
    left += [
        f"{upload}: a session that nobody goes on with" for (upload,) in server.sql("SELECT id FROM upload_sessions")
    ]
    rows = {key: int(size) for key, size in server.sql("SELECT key, size FROM blobs")}
    files = server.stored.objects()
    left += [f"{name}: an object without a row" for name in files.keys() - rows.keys()]
    left += [f"{name}: a row without an object" for name in rows.keys() - files.keys()]
    both = files.keys() & rows.keys()
    return left + [f"{name}: {files[name]} bytes, not {rows[name]}" for name in both if files[name] != rows[name]]


def _age(server: Server) -> None:
    server.sql(f"UPDATE upload_sessions SET updated_at = updated_at - {_LONG_S * 1_000_000}")
    server.sql("UPDATE jobs SET due_at = 0, lease_until = 0")
    server.stored.age(_LONG_S)
