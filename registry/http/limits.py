"""What a connection may cost: how many there may be, how large a head, how long a silence."""

import resource
from dataclasses import dataclass, replace

from registry.http_settings import LimitSettings

NOTICEABLE_BYTES = 4096
"""Progress below this in a window of `Limits.stall` counts as none, so that a trickle wins no time."""

_DESCRIPTORS_A_CONNECTION = 3  # its own, its duplicate while a file is sent, the file
_DESCRIPTORS_BESIDE = 256  # database, log, listening sockets, folders, and room for what is opened for a moment


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one worker's connections. The settings of `http.limits` say what each means.

    Times are seconds, sizes bytes. A test may ask for fractions of a second, an operator can't.
    """

    connections: int = 10_000
    headers: int = 100
    head_size: int = 64 * 1024
    ignored_body: int = 64 * 1024
    idle: float = 75
    stall: float = 60

    @classmethod
    def of(cls, settings: LimitSettings) -> "Limits":
        """Return what the settings ask for."""
        return cls(**dict(settings))

    def within_descriptors(self) -> "Limits":
        """Return these limits with no more connections than this process may have descriptors for.

        Raises the process's own bound as far as the system lets it: many systems begin with 1024.
        """
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if most == resource.RLIM_INFINITY:
            return self
        room = max(1, (most - _DESCRIPTORS_BESIDE) // _DESCRIPTORS_A_CONNECTION)
        return replace(self, connections=min(self.connections, room))
