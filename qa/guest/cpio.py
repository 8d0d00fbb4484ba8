"""An initramfs archive ("newc" cpio), made in memory.

Needs no root: it holds directories, files and links only, all owned by root; device nodes come from the kernel's devtmpfs.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath


class Archive:
    """Paths are relative to the root of the guest; parent directories are added as needed."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.entries = 0
        self.directories: set[str] = set()

    def directory(self, path: str) -> None:
        for parent in reversed(PurePosixPath(path).parents):
            self.one_directory(str(parent))
        self.one_directory(path)

    def file(self, path: str, content: bytes, executable: bool = False) -> None:
        self.directory(str(PurePosixPath(path).parent))
        self.entry(path, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def link(self, path: str, target: str) -> None:
        self.directory(str(PurePosixPath(path).parent))
        self.entry(path, stat.S_IFLNK | 0o777, target.encode())

    def finish(self) -> bytes:
        self.entry("TRAILER!!!", 0)
        return bytes(self.data)

    def one_directory(self, path: str) -> None:
        if path != "." and path not in self.directories:
            self.directories.add(path)
            self.entry(path, stat.S_IFDIR | 0o755)

    def entry(self, path: str, mode: int, content: bytes = b"") -> None:
        self.entries += 1
        name = path.encode() + b"\0"
        fields = (self.entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        self.data += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.pad()
        self.data += content
        self.pad()

    def pad(self) -> None:
        self.data += b"\0" * (-len(self.data) % 4)
