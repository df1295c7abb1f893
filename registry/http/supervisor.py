"""The supervisor: starts a process for each worker, replaces those that die, renews them all, ends them in order.

It has one thread and no event loop, so that it may fork at any time. It keeps every listening socket open: what waits
in the queue of a worker that died is its successor's. Signals are for the supervisor alone: workers ignore SIGTERM,
SIGINT and SIGHUP, which a terminal or a service manager sends to all processes at once, and take orders on a socket,
whose end tells them that the supervisor has gone.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from registry.http.server import READY, RETIRE, STOP, CannotStart, Serving, work
from registry.metrics.board import Board

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_LONG_LIFE_SECONDS = 10  # a worker that lived so long did not die of its start
_PAUSE_SECONDS = 0.1  # after a second early death in a row, doubled by each further one
_LONGEST_PAUSE_SECONDS = 5.0
_LATE_SECONDS = 5  # beyond the time to drain, for closing the database and the like

_logger = logging.getLogger("stowage.supervisor")


class CutOff(Exception):
    """Workers were ended before they had answered every request."""


class _Worker:
    """A process, as the supervisor knows it."""

    def __init__(self, slot: int, region: int, pid: int, orders: socket.socket, patience: float) -> None:
        self.slot = slot
        self.region = region
        self.pid = pid
        self.ready = False
        self.starting = True  # it may still tell that it is ready
        self.leaving = False  # it has the order to end
        self.kill_at: float | None = None  # when that takes too long
        self._orders = orders
        self._patience = patience
        self._began = time.monotonic()

    def __str__(self) -> str:
        return f"worker {self.slot + 1} (process {self.pid})"

    def fileno(self) -> int:
        """The socket of orders, for poll."""
        return self._orders.fileno()

    def close(self) -> None:
        """Let go of the socket."""
        self._orders.close()

    def hear(self) -> None:
        """Take what it tells: that it is ready, or, by the end of the stream, that it won't be."""
        self.starting = False
        with contextlib.suppress(OSError):
            self.ready = self._orders.recv(1) == READY

    def order(self, order: bytes) -> None:
        """Tell it to end. It is killed if it takes much longer than it should."""
        self.leaving = True
        self.kill_at = time.monotonic() + self._patience
        with contextlib.suppress(OSError):  # it has ended by itself
            self._orders.send(order)

    def kill(self) -> None:
        """End it at once."""
        self.kill_at = None
        os.kill(self.pid, signal.SIGKILL)

    def died_early(self) -> bool:
        """Say whether it had hardly begun."""
        return time.monotonic() - self._began < _LONG_LIFE_SECONDS


class _Slot:
    """The sockets of one worker after the other, and how these fared."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        self.start_at: float | None = 0.0  # when the next worker is to be started; None while there is one
        self._early_deaths = 0

    def mourn(self, early: bool) -> None:
        """Decide when the next worker is started: at once, or after a pause if the last ones died early."""
        self._early_deaths = self._early_deaths + 1 if early else 0
        pause = _PAUSE_SECONDS * 2 ** min(self._early_deaths - 2, 10) if self._early_deaths > 1 else 0
        self.start_at = time.monotonic() + min(pause, _LONGEST_PAUSE_SECONDS)


class Supervisor:
    """Runs workers until SIGTERM or SIGINT, which lets them answer what was asked; a second SIGINT does not.

    Args:
        slots: for each worker its listening sockets.
        serving: what the workers serve.
        reload: called on SIGHUP; returns what new workers serve in the place of the present ones, or None to go on.
        on_ready: called when all workers answer.
        board: where workers count. Each has a region of its own, which the next one has after its end.
    """

    def __init__(
        self,
        slots: list[list[socket.socket]],
        serving: Serving,
        *,
        reload: Callable[[], Serving | None],
        on_ready: Callable[[], None],
        board: Board,
    ) -> None:
        self._slots = [_Slot(sockets) for sockets in slots]
        self._serving = serving
        self._reload = reload
        self._on_ready = on_ready
        self._board = board
        self._workers: dict[int, _Worker] = {}  # by process id: all that live
        self._renewing: Serving | None = None  # what the workers serve that are being started beside the present ones
        self._new: list[_Worker] = []  # these workers
        self._started = False
        self._stopping = False
        self._reload_asked = False
        self._cut_off = False
        self._wakeup: tuple[socket.socket, ...] = ()

    def run(self) -> None:
        """Serve until the end is asked for and all workers have ended.

        Raises:
            CannotStart: a worker ended before the first time that all were ready.
            CutOff: a second SIGINT came, or a worker did not end in time.
        """
        # What is imported by now stays shared between the processes for longer if no collection touches it.
        gc.collect()
        gc.freeze()
        with self._wakeup_on_signals() as wakeup:
            try:
                while not self._stopping or self._workers:
                    self._act()
                    self._wait(wakeup)
                    self._bury()
            finally:
                self._kill_all()
        if self._cut_off:
            raise CutOff("ended before every request was answered")

    @contextlib.contextmanager
    def _wakeup_on_signals(self) -> Iterator[socket.socket]:
        """Have signals written to a socket, by their numbers, so that none comes between a look and a wait."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
            old_wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            self._wakeup = (ours, theirs)
            try:
                yield ours
            finally:
                signal.set_wakeup_fd(old_wakeup)
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _act(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        for number, slot in enumerate(self._slots):
            if slot.start_at is not None and slot.start_at <= now and not self._stopping:
                self._start(number, slot)
        if self._reload_asked and self._started and self._renewing is None and not self._stopping:
            self._reload_asked = False
            self._renew()
        for worker in self._workers.values():
            if worker.kill_at is not None and worker.kill_at <= now:
                _logger.error("%s did not end in time, and is killed", worker)
                self._cut_off = self._cut_off or self._stopping
                worker.kill()

    def _wait(self, wakeup: socket.socket) -> None:
        """Wait for a signal, a worker that is ready, or the next thing that is due."""
        starting = {worker.fileno(): worker for worker in self._workers.values() if worker.starting}
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        for descriptor in starting:
            poll.register(descriptor, select.POLLIN)
        due = [slot.start_at for slot in self._slots if slot.start_at is not None and not self._stopping]
        due += [worker.kill_at for worker in self._workers.values() if worker.kill_at is not None]
        timeout = max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None
        for descriptor, _ in poll.poll(timeout):
            if descriptor in starting:
                starting[descriptor].hear()
        with contextlib.suppress(BlockingIOError):
            for number in wakeup.recv(4096):
                self._take_signal(number)
        self._note_ready()

    def _take_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload_asked = True
        elif number in {signal.SIGTERM, signal.SIGINT} and not self._stopping:
            self._stop()
        elif number == signal.SIGINT:
            self._cut_off = True
            self._kill_all()

    def _note_ready(self) -> None:
        if not self._started and not self._stopping and all(worker.ready for worker in self._workers.values()):
            self._started = True
            self._on_ready()
        if self._renewing is not None and not self._stopping and all(worker.ready for worker in self._new):
            for worker in self._workers.values():
                if not worker.leaving and worker not in self._new:
                    worker.order(RETIRE)
            for slot in self._slots:
                slot.start_at = None
            self._serving, self._renewing = self._renewing, None
            self._new = []
            _logger.info("reloaded: %d new workers answer", len(self._slots))

    def _start(self, number: int, slot: _Slot) -> None:
        try:
            self._fork(number, self._serving)
        except OSError as error:
            if not self._started:
                raise CannotStart(f"a worker can't be started: {error.strerror}") from error
            _logger.error("a worker can't be started, and is tried again: %s", error.strerror)
            slot.mourn(early=True)
        else:
            slot.start_at = None

    def _renew(self) -> None:
        """Start new workers beside the present ones, with settings read anew."""
        try:
            self._renewing = self._reload()
        except Exception:
            _logger.exception("reload failed, the workers go on as before")
        if self._renewing is None:
            return
        try:
            for number in range(len(self._slots)):
                self._new.append(self._fork(number, self._renewing))
        except OSError as error:
            self._give_up_renewing(f"a worker can't be started: {error.strerror}")

    def _give_up_renewing(self, cause: str) -> None:
        _logger.error("reload failed, the workers go on as before: %s", cause)
        for worker in self._new:
            worker.order(RETIRE)
        self._renewing, self._new = None, []

    def _stop(self) -> None:
        """Let every worker answer what was asked, and keep nothing open but for them."""
        self._stopping = True
        for number, slot in enumerate(self._slots):
            if slot.start_at is not None:  # somebody may wait in its queue
                with contextlib.suppress(OSError):
                    self._fork(number, self._serving)
            for one in slot.sockets:
                one.close()
        for worker in self._workers.values():
            if not worker.leaving:
                worker.order(STOP)

    def _bury(self) -> None:
        """Take note of every process that has ended; as process 1 of a container, of strangers' too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._workers:
                self._take_leave(self._workers.pop(pid), os.waitstatus_to_exitcode(status))

    def _take_leave(self, worker: _Worker, code: int) -> None:
        worker.close()
        self._board.release(worker.region)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        if worker.leaving:
            if code:
                _logger.error("%s %s before it had answered every request", worker, how)
                self._cut_off = self._cut_off or self._stopping
        elif worker in self._new:
            self._new.remove(worker)
            self._give_up_renewing(f"{worker} {how}")
        elif not self._started:
            raise CannotStart(f"{worker} {how} before it was ready: the log says why")
        else:
            self._slots[worker.slot].mourn(worker.died_early())
            _logger.error("%s %s: another takes its place", worker, how)

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            os.waitpid(worker.pid, 0)
            worker.close()
        self._workers = {}

    def _fork(self, number: int, serving: Serving) -> _Worker:
        """Start a worker. Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has its own handlers, a signal to it would be written to the supervisor's socket.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        region: int | None = None
        try:
            region = self._board.take()
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_worker(number, serving, theirs, region)
        except OSError:
            ours.close()
            if region is not None:
                self._board.release(region)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            theirs.close()
        worker = self._workers[pid] = _Worker(number, region, pid, ours, serving.drain + _LATE_SECONDS)
        return worker

    def _become_worker(self, number: int, serving: Serving, orders: socket.socket, region: int) -> NoReturn:
        """Let go of what is the supervisor's, work, and end the process: nothing above may run here."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(ignored, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for one in self._wakeup:
                one.close()
            for worker in self._workers.values():  # or they would not learn of the supervisor's end
                worker.close()
            for other, slot in enumerate(self._slots):
                if other != number:
                    for listening in slot.sockets:
                        listening.close()
            work(serving, self._slots[number].sockets, orders, region)
            status = 0
        except CannotStart as error:
            _logger.error("%s", error)
        except BaseException:
            _logger.exception("a worker failed")
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
