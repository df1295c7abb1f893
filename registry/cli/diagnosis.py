"""What is wrong or missing with a configuration, here and now. Nothing is created or changed by looking."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.cli.backups import backup_problems
from registry.cli.certificate import certificate_problems, first_certificate
from registry.cli.identities import identity_problems
from registry.cli.login_problems import login_problems
from registry.cli.problems import Problem, error, warning
from registry.cli.progress import size
from registry.cli.running import Address, Holder, look
from registry.cli.serve import exposure
from registry.db.inspection import Inspected
from registry.db.migrate import REVISION, check_sqlite
from registry.db.place import Place, place_of
from registry.db.stores import Store
from registry.drivers import build_driver, build_imported, try_driver
from registry.errors import Unavailable
from registry.http.cores import granted_cores
from registry.http.health import OK
from registry.http.limits import Limits
from registry.settings import Settings
from storage.bucket_place import is_bucket
from storage.errors import StorageUnavailable
from storage.filesystem_space import Space

_PARTS = {"database": "database", "storage": "storage", "imported": "stores that were taken over"}
"""What `/readyz` has an answer for, and what it is called."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found."""

    address: Address
    database: Inspected | None
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """What keeps the server from starting or from serving."""
        return [problem for problem in self.problems if problem.severity == "error"]


def diagnose(settings: Settings, *, insecure_open: bool) -> Diagnosis:
    """Look at everything that the settings name."""
    place = place_of(settings)
    database, problems = _database(place)
    problems += _connection_problems(settings, database)
    problems += backup_problems(settings, database)
    problems += _storage_problems(settings)
    problems += _imported_problems(settings, database.imported if database is not None else ())
    problems += _room_problems(settings, place)
    problems += certificate_problems(settings.http.tls)
    problems += identity_problems(settings)
    problems += login_problems(settings)
    problems += _limit_problems(settings)
    address = look(settings)
    problems += _address_problems(settings, place, address)
    problems += _exposure_problems(settings, address, insecure_open=insecure_open)
    return Diagnosis(address, database, sorted(problems, key=lambda problem: problem.severity))


def _database(place: Place) -> tuple[Inspected | None, list[Problem]]:
    problems = [] if place.file is None else _file_problems(place.file)
    try:
        found = place.inspect()
    except Unavailable as unreadable:
        return None, [*problems, error("DatabaseUnreadable", str(unreadable))]
    if found.is_newer:
        text = f"the database {place.name} has schema {found.revision}, this version knows {REVISION}"
        problems.append(error("SchemaNewer", f"{text}: run a newer version"))
    if found.is_read_only:
        text = f"the database {place.name} is read-only, a standby or set so: name the primary"
        problems.append(error("DatabaseReadOnly", text))
    return found, problems


def _connection_problems(settings: Settings, database: Inspected | None) -> Iterator[Problem]:
    workers = settings.http.workers or granted_cores()
    wanted = workers * settings.database.pool
    if database is not None and database.connections is not None and wanted > database.connections:
        text = f"{workers} workers with {settings.database.pool} connections each (database.pool) may want {wanted}"
        yield warning("FewConnections", f"{text}, and the database's server takes {database.connections}")


def _file_problems(path: Path) -> list[Problem]:
    problems = _folder_problems(path.parent, "the folder of the database", ())
    problems += [
        error("NotWritable", f"{file} can't be written to: give user id {os.geteuid()} the right to")
        for file in (
            path,
            *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock", ".writer", ".reserve")),
        )
        if file.exists() and not os.access(file, os.R_OK | os.W_OK, effective_ids=True)
    ]
    try:
        check_sqlite(path)
    except Unavailable as refused:
        problems.append(error("DatabaseRefused", str(refused)))
    return problems


def _storage_problems(settings: Settings) -> list[Problem]:
    """Look at the folder of the blobs; of any other store, see whether it can be written, read and deleted from."""
    if settings.storage.driver == "filesystem":
        return _folder_problems(settings.filesystem_root, "storage.filesystem.root", ("blobs", "uploads"))
    try:
        asyncio.run(_try_driver(settings))
    except StorageUnavailable as unusable:
        return [error("StorageUnavailable", str(unusable))]
    return []


def _imported_problems(settings: Settings, imported: Sequence[Store]) -> Iterator[Problem]:
    """Look at the stores of other registries, where layers lie that were taken over."""
    for store in imported:
        fault = asyncio.run(_fault(settings, store))
        if fault:
            where = f"{store.name}, taken over from {store.place}, where layers still lie"
            how = (
                "see that this machine reaches it, and that the credentials may read it; `stowage import` once more, "
                "with --region or --profile, says anew how it is reached"
                if is_bucket(store.place)
                else "mount it there, and let this user read it"
            )
            yield error("ImportedStoreUnavailable", f"{where}: {fault}: {how}")


async def _fault(settings: Settings, store: Store) -> str:
    async def never() -> bool:
        return False

    try:
        await try_driver(build_imported(settings, store.name, store.place, never))
    except StorageUnavailable as unusable:
        return str(unusable)
    return ""


async def _try_driver(settings: Settings) -> None:
    await try_driver(build_driver(settings))


def _folder_problems(folder: Path, name: str, below: tuple[str, ...]) -> list[Problem]:
    there = existing(folder)
    if not there.is_dir():
        return [error("NotAFolder", f"{name}: {there} is not a folder: move it away, or choose another folder")]
    problems = []
    for one in dict.fromkeys((there, *(folder / part for part in below))):
        if one.is_dir() and not os.access(one, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            text = f"{name}: user id {os.geteuid()} may not read, write and search {one}: give it the right to"
            problems.append(error("NotWritable", text))
        elif one.exists() and not one.is_dir():
            problems.append(error("NotAFolder", f"{name}: {one} is not a folder: move it away"))
    return problems


def existing(path: Path) -> Path:
    """Return `path`, or what is there of the way to it."""
    path = path.absolute()
    while not os.path.lexists(path):
        path = path.parent
    return path


def _room_problems(settings: Settings, place: Place) -> Iterator[Problem]:
    places = []
    if settings.storage.driver == "filesystem":
        reserve = settings.storage.filesystem.reserve
        places.append((settings.filesystem_root, reserve, "StorageFull", "storage.filesystem.reserve"))
    if place.file is not None:
        places.append((place.file.parent, settings.database.reserve, "DatabaseFull", "database.reserve"))
    for folder, reserve, reason, name in places:
        left = Space(str(existing(folder)), reserve).beyond_reserve()
        if reserve and left is not None and left < 0:
            text = f"{size(max(0, left + reserve))} are free on the disk of {folder}, less than {name}, {size(reserve)}"
            yield error(reason, f"{text}: pushes get 507 until there is room")


def _limit_problems(settings: Settings) -> Iterator[Problem]:
    wanted = Limits.of(settings.http.limits)
    had = wanted.within_descriptors().connections
    if had < wanted.connections:
        text = f"the hard limit of open files is low: a worker takes {had} connections, not {wanted.connections}"
        yield warning("FewDescriptors", f"{text} (http.limits.connections): raise it (ulimit -Hn, LimitNOFILE=)")


def _address_problems(settings: Settings, place: Place, address: Address) -> Iterator[Problem]:
    if address.holder is Holder.OTHER:
        yield error("PortTaken", address.message)
    elif address.holder is Holder.SILENT:
        yield error("NotAnswering", f"{address.message}: look at its log, or restart it")
    elif address.holder is Holder.UNUSABLE:
        yield error("AddressUnusable", address.message)
    elif address.holder is Holder.STOWAGE:
        yield from _running_problems(settings, place, address)


def _running_problems(settings: Settings, place: Place, address: Address) -> Iterator[Problem]:
    found = address.readiness
    mark = place.mark()
    if found["data"] and found["data"] != mark and (mark or place.file):
        text = f"the Stowage on {address.text} (instance {found['instance']}) has another database open than"
        yield error("OtherData", f"{text} {place.name}: look at --data and --config, or restart it")
    for part in _PARTS:
        if found.get(part, OK) != OK:
            yield error("NotReady", f"the running server says of its {_PARTS[part]}: {found[part]}")
    certificate = settings.http.tls.certificate
    if certificate and address.certificate and address.certificate != first_certificate(certificate):
        text = f"the running server shows another certificate than {certificate} holds"
        yield warning("CertificateNotReloaded", f"{text}: its log says why, or reload it (SIGHUP)")


def _exposure_problems(settings: Settings, address: Address, *, insecure_open: bool) -> Iterator[Problem]:
    text = exposure(settings, insecure_open=False)
    if not text:
        return
    if insecure_open or address.holder is Holder.STOWAGE:
        where = settings.http.host
        text = f"http.host is {where} and auth.mode is open: everybody who reaches this machine may push and delete"
        yield warning("OpenToAll", text)
    else:
        yield error("OpenToAll", text)
