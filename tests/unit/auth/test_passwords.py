"""Passwords: their hashes, and the line in front of the threads that hash."""

import asyncio
import threading

import pytest

from auth.errors import TooManyAttempts
from auth.passwords import LONGEST, Passwords, hashed, matches

pytestmark = pytest.mark.anyio


def test_a_hash_is_argon2id_and_another_each_time() -> None:
    one, other = hashed("secret"), hashed("secret")
    assert one != other
    assert one.startswith("$argon2id$")
    assert matches(one, "secret") and not matches(one, "Secret")


@pytest.mark.parametrize("kept", ["", "secret", "$argon2id$", "$2b$05$" + "a" * 53])
def test_what_is_no_hash_matches_nothing(kept: str) -> None:
    assert not matches(kept, "secret")


async def test_nobodys_password_and_an_empty_or_endless_one_are_wrong() -> None:
    passwords = Passwords()
    empty, long = hashed(""), hashed("x" * LONGEST)
    assert not await passwords.check(None, "secret")
    assert not await passwords.check(empty, "")
    assert await passwords.check(long, "x" * LONGEST)
    assert not await passwords.check(long, "x" * (LONGEST + 1))
    passwords.close()


async def test_who_does_not_fit_into_the_line_is_told_to_come_back() -> None:
    passwords, gate = Passwords(threads=1), threading.Event()
    waiting = [asyncio.create_task(passwords.run(gate.wait)) for _ in range(65)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyAttempts) as refused:
        await passwords.check(None, "secret")
    assert refused.value.retry_after > 0
    gate.set()
    await asyncio.gather(*waiting)
    assert not await passwords.check(None, "secret")
    passwords.close()
