"""Listening sockets: who gets a port, how connections are spread, and that none in a queue is lost."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.http.sockets import CannotListen, anyone_waits, bind, refuse_new
from tests.support.ports import free_port
from tests.support.served import Process


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _refused(host: str, port: int) -> str:
    with pytest.raises(CannotListen) as caught, bind(host, port) as listeners:
        listeners.listen(1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_connections_are_spread_over_the_workers_sockets() -> None:
    with bind("127.0.0.1", 0) as listeners:
        slots = listeners.listen(3)
        clients = [_connect(listeners.address[1]) for _ in range(100)]
        assert len(slots) == 3
        assert all(anyone_waits(slot) for slot in slots)
        for client in clients:
            client.close()


def test_a_second_server_on_the_port_is_refused() -> None:
    with bind("127.0.0.1", 0) as listeners:
        port = listeners.address[1]
        listeners.listen(2)
        message = _refused("127.0.0.1", port)
        assert f"127.0.0.1:{port}" in message and "in use" in message
        assert "in use" in _refused("0.0.0.0", port)


def test_until_it_listens_clients_are_refused() -> None:
    with bind("127.0.0.1", 0) as listeners, pytest.raises(ConnectionRefusedError):
        _connect(listeners.address[1])


def test_of_two_that_are_bound_the_first_to_listen_has_the_port() -> None:
    port = free_port()
    with bind("127.0.0.1", port) as first, bind("127.0.0.1", port) as second:
        second.listen(2)
        with pytest.raises(CannotListen, match="in use"):
            first.listen(2)
        _connect(port).close()


def test_of_two_servers_that_start_together_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "start-slowly").touch()
    port = str(free_port())

    def start() -> Process | str:
        try:
            return Process(tmp_path, "--port", port)
        except ConnectionError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        outcomes = [task.result() for task in [pool.submit(start), pool.submit(start)]]
    (running,) = [one for one in outcomes if isinstance(one, Process)]
    with running:
        assert running.get("/about/x").status == 200
    (refused,) = [one for one in outcomes if isinstance(one, str)]
    assert "CannotListen" in refused


def test_an_address_that_is_not_ours_is_refused() -> None:
    assert "no such address" in _refused("192.0.2.1", 5000)
    assert "[2001:db8::1]:5000" in _refused("2001:db8::1", 5000)
    assert "name" in _refused("no-such-host.invalid", 5000)


def test_all_addresses_of_a_name_have_the_same_port() -> None:
    with bind("localhost", 0) as listeners:
        slots = listeners.listen(2)
        addresses = {one.getsockname()[:2] for slot in slots for one in slot}
    assert {port for _, port in addresses} == {listeners_port(addresses)}
    assert {len(slot) for slot in slots} == {len(addresses)}


def listeners_port(addresses: set[tuple[str, int]]) -> int:
    """The port of any of them."""
    return next(iter(addresses))[1]


def test_new_connections_are_kept_away_and_those_in_the_queue_are_not_lost() -> None:
    with bind("127.0.0.1", 0) as listeners:
        ((listening,),) = listeners.listen(1)
        port = listeners.address[1]
        with _connect(port) as early:
            early.sendall(b"asked")
            refuse_new(listening)
            with socket.socket() as late:
                late.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    late.connect(("127.0.0.1", port))
            accepted, _ = listening.accept()
            with accepted:
                accepted.setblocking(True)
                assert accepted.recv(10) == b"asked"
                accepted.sendall(b"answered")
            assert early.recv(10) == b"answered"
            assert not anyone_waits([listening])
