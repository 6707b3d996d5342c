"""A record as a stream: a file that may be larger than memory, perhaps compressed by zlib or gzip."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tierenv.errors import ConfigError
from tierenv.progress import ReportProgress, unreported

BLOCK_BYTES = 1 << 20
"""Read at a time; parsed, a block of text takes some twenty times as much."""
MAX_LINE_BYTES = 1 << 20

_ZLIB_STARTS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""First bytes of a zlib stream by its level (RFC 1950 section 2.2)."""
_GZIP_START = b"\x1f\x8b"
_AUTOMATIC_BITS = 32 + zlib.MAX_WBITS
"""zlib's sign for either header."""


class RecordFile:
    """A file that is read once, from its beginning to its end.

    Args:
        path: names it in errors.
        file: open for bytes.
        total_bytes: of the file.
        report_progress: told how many MiB of the file were read.
    """

    def __init__(self, path: Path, file: IO[bytes], total_bytes: int, report_progress: ReportProgress) -> None:
        self.path = path
        self._file = file
        self._total_bytes = total_bytes
        self._report_progress = report_progress
        self._done_bytes = 0
        head = file.read(2)
        file.seek(0)
        self.is_compressed = head in _ZLIB_STARTS or head == _GZIP_START
        self._unpacker = zlib.decompressobj(_AUTOMATIC_BITS) if self.is_compressed else None
        self._head = b""

    def peek(self, most_bytes: int) -> bytes:
        """The first bytes of the content, before anything else was read. Raises `ConfigError` as `read` does."""
        self._head = b""
        while len(self._head) < most_bytes and (content := self._read(most_bytes)):
            self._head += content
        return self._head[:most_bytes]

    def read(self, most_bytes: int = -1) -> bytes:
        """At most so many bytes of the content, none at its end. Raises `ConfigError` for a damaged stream."""
        most_bytes = BLOCK_BYTES if most_bytes < 0 else most_bytes
        if self._head and most_bytes:
            content, self._head = self._head[:most_bytes], self._head[most_bytes:]
            return content
        return self._read(most_bytes)

    def _read(self, most_bytes: int) -> bytes:
        if self._unpacker is None:
            return self._read_file(most_bytes)
        while most_bytes:
            packed = self._unpacker.unconsumed_tail or self._read_file(most_bytes)
            if self._unpacker.eof:
                return b""  # what follows is no part of the stream
            if not packed:
                raise ConfigError(f"{self.path}: the compressed data is cut off")
            try:
                content = self._unpacker.decompress(packed, most_bytes)
            except zlib.error:
                raise ConfigError(f"{self.path}: the compressed data is damaged") from None
            if content:
                return content
        return b""

    def _read_file(self, most_bytes: int) -> bytes:
        content = self._file.read(most_bytes)
        self._done_bytes += len(content)
        self._report_progress(self._done_bytes >> 20, self._total_bytes >> 20, f"{self.path.name}, MiB")
        return content

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Runs of whole lines and the number of each one's first line; a last line may lack its end.

        Raises `ConfigError` for a line that is too long, and for bytes that no text holds.
        """
        number, rest = 1, b""
        while block := self.read(BLOCK_BYTES):
            if b"\0" in block:
                raise ConfigError(f"{self.path}: is binary, not the text or JSON that the format stands for")
            whole, line_end, tail = block.rpartition(b"\n")
            if not line_end:
                rest += tail
                if len(rest) > MAX_LINE_BYTES:
                    raise ConfigError(f"{self.path}:{number}: a line of more than {MAX_LINE_BYTES} bytes")
                continue
            lines = rest + whole + line_end
            yield number, lines
            number += lines.count(b"\n")
            rest = tail
        if rest:
            yield number, rest

    def bad_line(self, number: int, cause: str) -> ConfigError:
        """An error that names a line."""
        return ConfigError(f"{self.path}:{number}: {cause}")


@contextmanager
def open_record_file(path: Path, report_progress: ReportProgress = unreported) -> Iterator[RecordFile]:
    """A record, open. Raises `ConfigError` for what is no readable file."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"{path}: must be a file, not a pipe or a device")
        with path.open("rb") as file:
            yield RecordFile(path, file, path.stat().st_size, report_progress)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
