"""Garbage is collected where a process has grown, and not after each test of a small model."""

import mmap

from pytest_modelcheck.runtimes import freed_memory


def test_growth_is_large_from_64_mb_on(tmp_path, monkeypatch):
    statm = tmp_path / "statm"
    monkeypatch.setattr(freed_memory, "_STATM", statm)

    def holds(megabytes):
        statm.write_text(f"9 {megabytes * 2**20 // mmap.PAGESIZE} 0 0 0 0 0")

    growth, said = freed_memory.Growth(), []
    for megabytes in (100, 163, 164, 200, 120, 183, 184):
        holds(megabytes)
        said.append(growth.is_large())
    assert said == [True, False, True, False, False, False, True]
    statm.unlink()
    assert growth.is_large()
