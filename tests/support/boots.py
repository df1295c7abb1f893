"""A server that finds itself on a machine that has been restarted."""

import uuid
from pathlib import Path

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_PREPARE = f'mount --bind "$0" {_BOOT_ID} && exec "$@"'


def another_boot(folder: Path) -> tuple[str, ...]:
    """The command, to be put before another, under which the kernel's name for this run of the machine is a new one.

    It takes root's rights: the name is covered by a file of `folder`, in a mount namespace of the command's own.
    """
    file = folder / "boot_id"
    file.write_text(f"{uuid.uuid4()}\n")
    return ("unshare", "--mount", "sh", "-c", _PREPARE, str(file))
