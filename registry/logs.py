"""Logs: every record of the standard library's `logging` becomes one line on standard error, made by structlog.

Text for people, JSON for programs. Several processes write to one place, so a record is one write of at most 4096
bytes, which a pipe keeps whole (pipe(7), PIPE_BUF). In text the lines of a traceback follow, indented, in the same
write. What comes from outside can't begin a line or steer a terminal: control characters are escaped.
"""

import asyncio
import contextlib
import importlib
import json
import logging
import os
import re
import select
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from registry.watching_settings import LogSettings

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being served; empty where none is. Records made meanwhile carry it."""

STDERR = 2
LONGEST_RECORD = select.PIPE_BUF
"""Bytes. What is longer loses the middle of its longest values."""

_GAP = " [cut] "
_NOISY = ("alembic", "httpcore", "httpx", "uvicorn")
_KINDS = 1000
_A_SECOND = 1.0
_PATIENCE_MS = 1000
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, and others that would break a line or turn its direction."""
_WORD = re.compile("[a-z-]{1,40}")
_PLAIN = re.compile(r"[^\s\"'=\\]+")

Event = dict[str, Any]


def configure(settings: LogSettings, instance: str) -> None:
    """Have every record written to standard error. May be called again, with other settings.

    Args:
        instance: id of this server's run; JSON records carry it.
    """
    logging.captureWarnings(True)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_handler(settings, instance))
    root.setLevel(settings.level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def is_text(settings: LogSettings) -> bool:
    """Say whether records are written as text: when told so, and on a terminal unless told otherwise."""
    return settings.format == "text" or (settings.format == "auto" and os.isatty(STDERR))


def write(line: bytes) -> None:
    """Write a line, with its end, to standard error at once. Lost where standard error is closed or stuck."""
    rest = memoryview(line)
    with contextlib.suppress(OSError):
        while rest:
            try:
                rest = rest[os.write(STDERR, rest) :]
            except BlockingIOError:  # another program that has the terminal too may have made it so
                waiting = select.poll()
                waiting.register(STDERR, select.POLLOUT)
                if not waiting.poll(_PATIENCE_MS):
                    return


def escaped(text: str) -> str:
    """Return `text` without characters that could begin a line or steer a terminal."""
    return _UNSAFE.sub(_escape, text)


class Handler(logging.Handler):
    """Writes each record; of warnings and errors that repeat in an event loop one a second, with the number of others.

    Of one kind are records of one logger and one message before its values are filled in, about errors of one class
    and the same words. A full disk would else be a line for each request, on the disk that is full as often as not.
    Outside an event loop nothing is left out: there nobody could tell of it when the second is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or keep it until the second is over."""
        try:
            if record.levelno < logging.WARNING or self._kind_of(record).admits(record):
                write(self.format(record).encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001 - as every handler: a record that can't be written must not stop the work
            self.handleError(record)

    def _kind_of(self, record: logging.LogRecord) -> "_Kind":
        values = record.args if isinstance(record.args, tuple) else ()
        marks = [type(value) for value in values if isinstance(value, BaseException)]
        words = [value for value in values if isinstance(value, str) and _WORD.fullmatch(value)]
        kind = (record.name, str(record.msg), record.exc_info and record.exc_info[0], *marks, *words)
        if len(self._kinds) >= _KINDS and kind not in self._kinds:
            self._kinds.clear()  # kinds are few; were they not, this must not grow
        return self._kinds.setdefault(kind, _Kind(self.handle))


class _Kind:
    """What is known of records that are alike."""

    def __init__(self, handle: Callable[[logging.LogRecord], object]) -> None:
        self._handle = handle
        self._until = 0.0
        self._kept: logging.LogRecord | None = None  # the last of those that were not written
        self._others = 0  # how many more there were

    def admits(self, record: logging.LogRecord) -> bool:
        """Say whether to write the record now; it then tells how many were not."""
        now = time.monotonic()
        if record is not self._kept and now < self._until and (loop := _running_loop()) is not None:
            if self._kept is None:
                loop.call_later(self._until - now, self._end)
            else:
                self._others += 1
            self._kept = record
            record.request_id = request_id.get()  # it will be written while another request is served, or none
            return False
        if record is self._kept:
            self._kept = None
            self._until = now + _A_SECOND
        elif now >= self._until:
            self._until = now + _A_SECOND
        if self._others:
            record.left_out = self._others
            self._others = 0
        return True

    def _end(self) -> None:
        if self._kept is not None:
            self._handle(self._kept)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _handler(settings: LogSettings, instance: str) -> Handler:
    library = _structlog()
    text = is_text(settings)
    render = _as_text if text else _as_json
    basics: Mapping[str, str] = {} if text else {"instance": instance}
    handler = Handler()
    handler.setFormatter(
        library.stdlib.ProcessorFormatter(
            foreign_pre_chain=[library.stdlib.ExtraAdder()],
            processors=[
                lambda logger, method, event: _basic(event, basics),
                library.processors.format_exc_info,
                lambda logger, method, event: _fitting(event, render),
            ],
        )
    )
    return handler


def _structlog() -> Any:
    """Import structlog, without rich, for which it looks at its start: loading that takes a tenth of a second."""
    hidden = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]  # how the import system is told that there is none
    try:
        importlib.import_module("structlog.stdlib")
        return importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
        if hidden is not None:
            sys.modules["rich"] = hidden


def _basic(event: Event, basics: Mapping[str, str]) -> Event:
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    found = {
        "time": f"{moment}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "process": record.process,
        **basics,
        "message": event.pop("event"),
    }
    if request := event.pop("request_id", request_id.get()):
        found["request_id"] = request
    return {**found, **event}


def _as_json(event: Event) -> str:
    return json.dumps(event, separators=(",", ":"), default=str) + "\n"


def _as_text(event: Event) -> str:
    rest = dict(event)
    time_, level, logger, process, message = map(rest.pop, ("time", "level", "logger", "process", "message"))
    trace = [f"    {escaped(line)}\n" for line in str(rest.pop("exception", "")).splitlines()]
    fields = "".join(f" {key}={_as_value(value)}" for key, value in rest.items())
    return f"{time_} {level.upper()} [{process}] {logger}: {escaped(message)}{fields}\n{''.join(trace)}"


def _as_value(value: object) -> str:
    text = str(value)
    return escaped(text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False))


def _fitting(event: Event, render: Callable[[Event], str]) -> str:
    """Render the event, in as many bytes as a pipe keeps together: the middle of the longest value goes."""
    while True:
        line = render(event)
        excess = len(line.encode("utf-8", "backslashreplace")) - LONGEST_RECORD
        longest = max((key for key, value in event.items() if isinstance(value, str)), key=lambda key: len(event[key]))
        text = event[longest]
        keep = max(len(text) - excess, len(text) // 2) - len(_GAP)  # a character may be several bytes
        if excess <= 0 or keep <= 0:
            return line
        event = {**event, longest: f"{text[: keep // 3]}{_GAP}{text[keep // 3 - keep :]}"}


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {0x0A: r"\n", 0x0D: r"\r", 0x09: r"\t"}.get(code, f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
