"""How many cores are granted, read from cgroups as Linux shows them."""

import os
from pathlib import Path

import pytest

from registry.http import cores

AFFINITY = len(os.sched_getaffinity(0))


def granted(folder: Path, groups: str, files: dict[str, str]) -> int:
    """The cores granted to a process in `groups`, when `files` stand where cgroups are mounted."""
    (folder / "cgroup").write_text(groups)
    for name, content in files.items():
        file = folder / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return cores.granted_cores(folder / "cgroup", folder / "mounted")


def test_without_cgroups_it_is_the_affinity(tmp_path: Path) -> None:
    assert cores.granted_cores(tmp_path / "none", tmp_path) == AFFINITY
    assert 1 <= cores.granted_cores() <= AFFINITY


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}),
        ("0::/\n", {"cpu.max": "1000 100000\n"}),
        ("0::/../outside\n", {"cpu.max": "30000 100000\n"}),
        (
            "4:cpu,cpuacct:/x\n0::/\n",
            {f"cpu,cpuacct/x/cpu.cfs_{n}_us": v for n, v in (("quota", "10"), ("period", "20"))},
        ),
        ("4:cpuacct,cpu:/elsewhere\n", {f"cpu/cpu.cfs_{n}_us": v for n, v in (("quota", "10"), ("period", "20"))}),
    ],
)
def test_a_part_of_a_core_is_one_wherever_the_bound_is_set(tmp_path: Path, groups: str, files: dict[str, str]) -> None:
    assert granted(tmp_path, groups, files) == 1


@pytest.mark.parametrize("quota", ["max 100000", "99900000 100000", "", "words", "100000 0"])
def test_no_bound_or_a_wide_one_leaves_the_affinity(tmp_path: Path, quota: str) -> None:
    assert granted(tmp_path, "0::/\n1:name=systemd:/\n", {"cpu.max": quota}) == AFFINITY


def test_an_unlimited_quota_of_version_1_is_no_bound(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert granted(tmp_path, "4:cpu:/\n", files) == AFFINITY


def test_the_bound_is_rounded_up(tmp_path: Path) -> None:
    quota = f"{(AFFINITY - 1) * 100000 + 1} 100000"
    assert granted(tmp_path, "0::/\n", {"cpu.max": quota}) == AFFINITY
