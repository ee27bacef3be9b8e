"""The store: whole or not there, rebuilt when damaged, built once by two processes."""

import errno
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transformer_zoo.data.store import StoreWriter, key_of, locked, open_or_build, writing
from transformer_zoo.errors import DataError


def builder(calls: list[int]) -> Callable[[StoreWriter], None]:
    def build(writer: StoreWriter) -> None:
        calls.append(1)
        append = writer.column("numbers", np.uint16)
        append([1, 2])
        append(np.arange(3, 6))
        writer.column("empty", np.int64)
        writer.facts["name"] = "häuser"

    return build


def test_a_store_is_built_once_and_read_again(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        store = open_or_build(tmp_path, "key", builder(calls))
        assert store.columns["numbers"].array.tolist() == [1, 2, 3, 4, 5]
        assert store.columns["numbers"].array.dtype == np.uint16
        assert store.columns["empty"].array.tolist() == []
        assert store.facts["name"] == "häuser"
    assert calls == [1]
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_a_mapped_column_is_read_only_and_travels_as_its_path(tmp_path: Path) -> None:
    column = open_or_build(tmp_path, "key", builder([])).columns["numbers"]
    with pytest.raises(ValueError, match="read-only"):
        column.array[0] = 7
    copy = pickle.loads(pickle.dumps(column))
    assert copy.array.tolist() == [1, 2, 3, 4, 5]
    assert len(pickle.dumps(column)) < 500


def test_damage_is_noticed_and_repaired(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[3] ^= 1
        path.write_bytes(data)

    damages: list[Callable[[Path], object]] = [
        lambda folder: flip(folder / "numbers.bin"),
        lambda folder: (folder / "numbers.bin").write_bytes(b""),
        lambda folder: (folder / "numbers.bin").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{", encoding="utf-8"),
    ]
    calls: list[int] = []
    open_or_build(tmp_path, "key", builder(calls))
    for n, damage in enumerate(damages, 2):
        damage(tmp_path / "key")
        caplog.clear()
        assert open_or_build(tmp_path, "key", builder(calls)).columns["numbers"].array.tolist() == [1, 2, 3, 4, 5]
        assert len(calls) == n
        assert "damaged" in caplog.text


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    def fails(writer: StoreWriter) -> None:
        writer.column("numbers", np.uint16)([1])
        raise KeyError("broken")

    with pytest.raises(KeyError):
        open_or_build(tmp_path, "key", fails)
    assert [p.name for p in tmp_path.iterdir()] == ["key.lock"]


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "key.tmp-1").mkdir()
    open_or_build(tmp_path, "key", builder([]))
    assert not (tmp_path / "key.tmp-1").exists()


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    def full(writer: StoreWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"cannot be written to .*: No space left on device"):
        open_or_build(tmp_path, "key", full)


def test_two_processes_build_once(tmp_path: Path) -> None:
    program = (
        "import sys, time, numpy as np\nfrom pathlib import Path\nfrom transformer_zoo.data.store import open_or_build\n"
        "def build(writer):\n    print('built'); time.sleep(0.5); writer.column('n', np.int64)(range(9))\n"
        f"print(open_or_build(Path({str(tmp_path)!r}), 'key', build).columns['n'].array.sum())"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    out = [process.communicate(timeout=60)[0].split() for process in running]
    assert sorted(out, key=len) == [["36"], ["built", "36"]]


def test_keys_tell_settings_apart() -> None:
    assert key_of("a", 1) == key_of("a", 1)
    assert len({key_of("a", 1), key_of("a", 2), key_of("a", "1"), key_of("a1"), key_of(["a", 1])}) == 5


def test_waiting_for_a_lock_can_be_stopped(tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def poll() -> None:
        raise Stop

    with locked(tmp_path / "a.lock"), pytest.raises(Stop), locked(tmp_path / "a.lock", poll):
        pass


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Read-only file system"), writing(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(OSError, match="odd"), writing(tmp_path):
        raise OSError(errno.EIO, "odd")
