"""The head of a response, as bytes."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

NO_LENGTH = -1
"""In place of a body's length: it is sent in chunks, each with its own."""


def response_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], *, bodiless: bool, keep_alive: bool
) -> tuple[bytes, int, bool]:
    """Return the head, how many bytes of a body follow or NO_LENGTH, and whether the connection goes on after it.

    Args:
        headers: names in lower case.
        bodiless: whatever the headers say of a body's length.
        keep_alive: False adds `Connection: close`.

    Raises:
        RuntimeError: a header would end early.
    """
    lines = [STATUS_LINE[status]]
    length = NO_LENGTH
    closes = False
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
        if name == b"content-length":
            length = int(value)
        elif name == b"connection" and b"close" in value.lower():
            closes = True
    count = len(lines) // 4
    if not keep_alive and not closes:
        lines.append(b"connection: close\r\n")
        count += 1
    if bodiless:
        length = 0
    elif length == NO_LENGTH:
        lines.append(b"transfer-encoding: chunked\r\n")
        count += 1
    lines.append(b"\r\n")
    head = b"".join(lines)
    # Of each header one line end, and no other: a value may hold what a client once sent.
    ends = count + 2
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise RuntimeError("a header of the response has a line end in it")
    return head, length, keep_alive and not closes
