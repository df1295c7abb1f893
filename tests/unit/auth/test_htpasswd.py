"""The file of `htpasswd -B`: what is read of it, and when it is read again."""

from pathlib import Path

import bcrypt
import pytest

from auth.htpasswd import Htpasswd
from auth.passwords import Passwords
from auth.sources import Identity
from tests.support.people import write_htpasswd

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_htpasswd(tmp_path / "htpasswd", {"ann": "secret of ann", "ben": "secret of ben"})
    return tmp_path / "htpasswd"


async def test_it_knows_its_users(file: Path) -> None:
    source = Htpasswd(file, Passwords())
    found = await source.check("ann", "secret of ann")
    assert isinstance(found, Identity)
    assert (found.name, found.source) == ("ann", "htpasswd")
    assert found.proof == await source.proof("ann") != await source.proof("ben")
    assert await source.check("ann", "secret of ben") is False
    assert await source.check("ann", "") is False
    assert await source.check("cid", "secret of ann") is None
    assert await source.proof("cid") is None


async def test_it_is_read_again_when_it_changes(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Htpasswd(file, Passwords())
    before = await source.proof("ann")
    assert not source.refresh()
    write_htpasswd(file, {"ann": "another", "cid": "secret of cid"})
    assert source.refresh()
    assert not source.refresh()
    assert await source.check("ann", "secret of ann") is False
    assert isinstance(await source.check("ann", "another"), Identity)
    assert await source.proof("ann") != before
    assert await source.check("ben", "secret of ben") is None
    remove(file)
    assert not source.refresh()
    assert "can't be read, its users stay as they were" in caplog.text
    assert isinstance(await source.check("cid", "secret of cid"), Identity)


def with_odd_lines(file: Path) -> None:
    good = file.read_text()
    lines = ["# people", "", "dan:{SHA}secret-hash", "eve", ":x", "fay:$apr1$secret-hash", "a b:" + good.split(":")[1]]
    costly = "gil:" + bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode().replace("$04$", "$31$")
    file.write_text("\n".join([*lines, costly, good]))


def remove(file: Path) -> None:
    file.unlink()


async def test_lines_that_are_none_are_named_by_their_numbers_alone(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_odd_lines(file)
    source = Htpasswd(file, Passwords())
    for number in (3, 4, 5, 6, 7, 8):
        assert f"line {number} of {file}" in caplog.text
    assert "secret-hash" not in caplog.text
    assert isinstance(await source.check("ben", "secret of ben"), Identity)
    assert await source.check("gil", "x") is None


async def test_a_password_counts_as_far_as_bcrypt_looks(file: Path) -> None:
    """As htpasswd and every other server have it: up to 72 bytes."""
    write_htpasswd(file, {"ann": "\u00e4" * 36})
    source = Htpasswd(file, Passwords())
    assert isinstance(await source.check("ann", "\u00e4" * 36), Identity)
    assert isinstance(await source.check("ann", "\u00e4" * 40), Identity)
    assert await source.check("ann", "\u00e4" * 35) is False


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        Htpasswd(tmp_path / "none", Passwords())
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="decode"):
        Htpasswd(tmp_path / "bytes", Passwords())
