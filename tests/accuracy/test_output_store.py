"""Outputs wait in memory or on disk, and come back as they were."""

import ml_dtypes
import numpy as np
import pytest

from pytest_modelcheck.accuracy.store import OutputStore

ARRAYS = {
    "float": np.arange(12, dtype=np.float32).reshape(3, 4),
    "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "bfloat16": np.arange(4).astype(ml_dtypes.bfloat16),
    "zero_dimensional": np.array(3.5),
    "no_elements": np.zeros((0, 2), np.int64),
    "text": np.array(["a", "b"], object),
}


@pytest.mark.parametrize("memory_bytes", [0, 10, 10**6])
def test_everything_comes_back_in_order_whether_it_was_in_memory_or_on_disk(memory_bytes):
    with OutputStore(memory_bytes) as store:
        store.put("stage", 0, ARRAYS)
        back = store.get("stage", 0)
        assert list(back) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert back[name].dtype == array.dtype
            assert back[name].shape == array.shape
            assert back[name].tolist() == array.tolist()


def test_files_go_when_their_stage_is_forgotten_and_the_folder_at_the_end():
    with OutputStore(0) as store:
        store.put("a", 0, {"y": np.ones(5)})
        store.put("b", 0, {"y": np.ones(5)})
        folder = store._folder.name
        files = [store.get(stage, 0)["y"].filename for stage in "ab"]  # type: ignore[attr-defined]
        store.keep_only({"b"})
        assert [file.exists() for file in files] == [False, True]
        with pytest.raises(KeyError):
            store.get("a", 0)
    assert not files[1].exists()
    assert not files[1].parent.exists()
    assert str(files[1].parent) == folder


def test_forgotten_memory_is_used_again():
    with OutputStore(100) as store:
        store.put("a", 0, {"y": np.ones(10)})
        store.keep_only(set())
        store.put("b", 0, {"y": np.ones(10)})
        assert not isinstance(store.get("b", 0)["y"], np.memmap)
