"""A guest's first file system, as the kernel unpacks it: a cpio archive whose bytes follow from its content alone."""

import stat
from collections.abc import Callable
from pathlib import Path


class Image:
    """Files by their paths in the guest. Folders come with what stands in them; times and owners are all 0."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes, tuple[int, int]]] = {}

    def add(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """A file."""
        self._put(name, stat.S_IFREG | mode, content)

    def add_link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._put(name, stat.S_IFLNK | 0o777, target.encode())

    def add_folder(self, name: str) -> None:
        """An empty folder."""
        self._put(name, stat.S_IFDIR | 0o755)

    def add_device(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._put(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def add_tree(self, name: str, source: Path, is_wanted: Callable[[Path], bool] = lambda _path: True) -> None:
        """A file or all of a folder; `is_wanted` tells of each path below it whether to take it."""
        if source.is_symlink():
            self.add_link(name, str(source.readlink()))
        elif source.is_dir():
            for path in source.iterdir():
                if is_wanted(path):
                    self.add_tree(f"{name}/{path.name}", path, is_wanted)
        else:
            self.add(name, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))

    def to_bytes(self) -> bytes:
        """The archive, in the format that cpio calls newc."""
        entries = [*sorted(self._entries.items()), ("TRAILER!!!", (0, b"", (0, 0)))]
        return b"".join(_entry(number, name, *rest) for number, (name, rest) in enumerate(entries, 1))

    def _put(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        for parent in list(Path(name).parents)[:-1]:
            self._entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b"", (0, 0)))
        self._entries[name] = mode, content, device


def _entry(number: int, name: str, mode: int, content: bytes, device: tuple[int, int]) -> bytes:
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
    return _padded(b"070701" + b"".join(b"%08X" % value for value in fields) + path) + _padded(content)


def _padded(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % 4)
