"""Reading files exactly: bytes that are no text, odd line ends, endless lines, files that are not there."""

import gzip
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_zoo.data import files
from transformer_zoo.data.files import find, fingerprint, kind_of, read_lines, read_text
from transformer_zoo.data.text_data import TextDataConfig
from transformer_zoo.errors import DataError

CONFIG = TextDataConfig(train="")


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_every_character_is_kept_whatever_the_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int) -> None:
    monkeypatch.setattr(files, "CHUNK", chunk)
    text = "héllo\r\nwörld\r\x85\u2028 €\n\n🙂 end"
    path = write(tmp_path / name, text.encode())
    assert "".join(read_text(path, CONFIG)) == text


def test_only_newlines_end_lines_and_the_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\r\ntwo\rstill two\x85\u2028and\x0b\n\nlast".encode())
    assert list(read_lines(path, CONFIG)) == [(1, "one"), (2, "two\rstill two\x85\u2028and\x0b"), (3, ""), (4, "last")]
    assert "".join(read_text(path, CONFIG)).startswith("one\r\n")


BAD = b"first\nsecond \xff line\nthird \xe4\xb8\n"


@pytest.mark.parametrize("chunk", [1, 5, 14, 1 << 20])
def test_bad_bytes_are_named_by_line_and_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(files, "CHUNK", chunk)
    path = write(tmp_path / "a.txt", BAD)
    message = r"a\.txt line 2: byte 13 \(0xff\) is no UTF-8 .*data\.on_bad_utf8=replace or skip"
    with pytest.raises(DataError, match=message):
        list(read_text(path, CONFIG))
    with pytest.raises(DataError, match=message):
        list(read_lines(path, CONFIG))


def test_offsets_count_the_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfab\xff")
    for read in (read_text, read_lines):
        with pytest.raises(DataError, match=r"byte 5 \(0xff\)"):
            list(read(path, CONFIG))


def test_a_character_cut_off_by_the_end_of_the_file_is_bad_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: byte 2 \(0xe4\)"):
        list(read_text(write(tmp_path / "a.txt", b"ab\xe4\xb8"), CONFIG))


def test_bad_bytes_can_be_replaced_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.txt", BAD)
    replace, skip = (TextDataConfig(train="", on_bad_utf8=word) for word in ("replace", "skip"))
    assert "".join(read_text(path, replace)) == "first\nsecond \ufffd line\nthird \ufffd\n"
    assert "2 byte sequences that are no UTF-8 were replaced" in caplog.text
    assert "".join(read_text(path, skip)) == "first\nsecond  line\nthird \n"
    assert "2 byte sequences that are no UTF-8 were left out" in caplog.text
    assert [line for _, line in read_lines(path, replace)] == ["first", "second \ufffd line", "third \ufffd"]
    assert [line for _, line in read_lines(path, skip)] == ["first", None, None]
    assert "of 3 lines, 2 with bytes that are no UTF-8 were left out" in caplog.text


def test_a_binary_file_is_refused_unless_forced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", bytes(range(128)) * 20)
    for read in (read_text, read_lines):
        with pytest.raises(DataError, match=r"looks like a binary file: 540 of its first 2560 bytes.*data\.allow_control_bytes=true"):
            list(read(path, CONFIG))
    with pytest.raises(DataError, match="looks like a binary file"):
        list(read_text(write(tmp_path / "b.txt", bytes(range(256))), CONFIG))
    forced = TextDataConfig(train="", allow_control_bytes=True)
    assert len("".join(read_text(path, forced))) == 2560


def test_a_broken_gzip_file_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b"text " * 10_000)
    for name, data in (("cut.txt.gz", whole[:-20]), ("none.txt.gz", b"plain text")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name} is no whole gzip file"):
            list(read_text(tmp_path / name, CONFIG))


def test_files_are_found_by_name_folder_glob_and_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.txt", "a.jsonl.gz", "sub/c.csv", "note.md", ".hidden/x.txt", "odd,name.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)

    def names(value: str | list[str]) -> list[str]:
        return [path.name for path in find(value, "data.train")]

    assert names("b.txt") == ["b.txt"]
    assert names(str(tmp_path)) == ["a.jsonl.gz", "b.txt", "odd,name.txt", "c.csv"]
    assert names("*.txt") == ["b.txt", "odd,name.txt"]
    assert names("**/*.csv") == ["c.csv"]
    assert names("b.txt, sub/c.csv") == names(["b.txt", "sub/c.csv"]) == ["b.txt", "c.csv"]
    assert names("odd,name.txt") == ["odd,name.txt"]
    assert names("note.md") == ["note.md"]


def test_what_is_not_there_is_named_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    here = rf"\(current folder: {tmp_path}\)"
    for value, message in (
        ("nowhere.txt", rf"data\.train=nowhere\.txt: there is no file {tmp_path}/nowhere\.txt {here}"),
        ("*.txt", rf"data\.train=\*\.txt: nothing matches {tmp_path}/\*\.txt {here}"),
        ("empty", rf"the folder {tmp_path}/empty holds no \.txt, .* file {here}"),
        ([], "data.train names no file"),
    ):
        with pytest.raises(DataError, match=message):
            find(value, "data.train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"text")
    path.chmod(0)
    with pytest.raises(DataError, match=r"no permission to read .*a\.txt"):
        fingerprint([path])


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    a, b, c = write(tmp_path / "a.txt", b"one"), write(tmp_path / "b.txt", b"one"), write(tmp_path / "c.txt", b"onE")
    assert fingerprint([a]) == fingerprint([b]) != fingerprint([c])
    assert fingerprint([a, c]) != fingerprint([c, a])


@pytest.mark.parametrize(
    ("name", "kind"), [("a.txt", ".txt"), ("a.JSONL", ".jsonl"), ("a.csv.gz", ".csv"), ("a.en", ".txt"), ("a", ".txt"), ("a.en.gz", ".txt")]
)
def test_the_suffix_says_how_a_file_is_read(name: str, kind: str) -> None:
    assert kind_of(Path(name)) == kind


def test_an_endless_line_is_read_with_bounded_memory(tmp_path: Path) -> None:
    """The whole way to the store: 20 MB without a line end."""
    path = tmp_path / "endless.txt"
    with path.open("wb") as file:
        for _ in range(20):
            file.write(b"lorem ipsum dolor sit amet " * 37_037)
    program = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from transformer_zoo.data.text_data import TextDataConfig\nfrom transformer_zoo.data.running_text import recut\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"source = TextDataConfig(train={str(path)!r}).open(Path('.'))\n"
        "longest = total = 0\n"
        "for piece in source.documents('train'):\n    total += len(piece or ''); longest = max(longest, len(piece or ''))\n"
        "for piece in source.sentences('validation'):\n    longest = max(longest, len(piece or ''))\n"
        "print(total, longest, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120).stdout.split()
    total, longest, grown = map(int, out)
    assert total == int(20 * 27 * 37_037 * 0.9)
    assert longest <= files.CHUNK
    assert grown < 40


def test_logging_is_quiet_about_good_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    list(read_text(write(tmp_path / "a.txt", "gut €".encode()), TextDataConfig(train="", on_bad_utf8="replace")))
    assert not caplog.records
