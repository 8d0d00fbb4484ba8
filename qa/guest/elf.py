"""Two facts about ELF files that the image needs: which libraries a program wants, which modules a kernel module wants.

Reads little-endian 64-bit files only, which is what the guest's kernel and tools are; binutils are not needed.
"""

from __future__ import annotations

import struct

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


def text_at(data: bytes, offset: int) -> str:
    return data[offset:data.index(b"\0", offset)].decode()


def needed_libraries(data: bytes) -> list[str]:
    """Names of the shared libraries that an ELF file asks for; empty for a static one and for other files."""
    if data[:6] != b"\x7fELF\x02\x01":
        return []
    headers_at, = struct.unpack_from("<Q", data, 32)
    header_bytes, header_count = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, headers_at + i * header_bytes) for i in range(header_count)]
    dynamic = next(((offset, size) for kind, _, offset, _, _, size in segments if kind == PT_DYNAMIC), None)
    if dynamic is None:
        return []
    names, strings_address = [], 0
    for at in range(dynamic[0], sum(dynamic), 16):
        tag, value = struct.unpack_from("<qQ", data, at)
        if tag == DT_NULL:
            break
        if tag == DT_NEEDED:
            names.append(value)
        if tag == DT_STRTAB:
            strings_address = value
    strings_at = next(offset + strings_address - address for kind, _, offset, address, _, size in segments
                      if kind == PT_LOAD and address <= strings_address < address + size)
    return [text_at(data, strings_at + name) for name in names]


def module_dependencies(data: bytes) -> list[str]:
    """Names of the kernel modules that must be loaded before this one, from its .modinfo."""
    key = b"\0depends="
    at = data.find(key)
    if at < 0:
        return []
    return [name for name in text_at(data, at + len(key)).split(",") if name]
