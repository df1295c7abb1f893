"""What is taken over counts against quotas, and is never refused because of them."""

import json

from bench.takeover import write_storage
from registry.db.quota_items import Counts
from tests.cli.commands import printed
from tests.support.databases import sql_on_file
from tests.takeover.conftest import Ours
from tests.unit.services.quoted import expected, of_file

_IMAGES = 12


def test_a_takeover_counts_and_goes_beyond_a_quota(ours: Ours) -> None:
    write_storage(ours.there.root, _IMAGES)
    data = ("--data", str(ours.data))
    file = ours.data / "stowage.sqlite3"
    sql_on_file(file, "INSERT INTO projects (name, created_at, created_by) VALUES ('team0', 1, 'test')")
    printed("quota", "set", "team0", "--bytes", "10", "--tags", "3", *data)
    for more in ((), ("--copy",)):
        assert ours.take_over(*more)["tags"] == (0 if more else _IMAGES)
        [shown] = json.loads(printed("quota", "show", "team0", "--json", *data))
        used = expected(of_file(file), Counts.VISIBLE, "team0")
        assert (shown["bytes"]["used"], shown["tags"]["used"]) == (used.bytes, used.tags)
        assert (used.tags, used.bytes > 10) == (_IMAGES, True)
    [checked] = json.loads(printed("quota", "check", "--json", *data))
    assert checked["right"]
