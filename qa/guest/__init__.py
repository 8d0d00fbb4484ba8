"""A real Linux NVMe/TCP host in QEMU, for the demo and the end-to-end tests. `python3 -m guest --help` for use by hand."""

from guest.debian import PackageError
from guest.guest import ClockOffset, Forward, Guest, GuestError, GuestTimeout, Result
from guest.host import LinuxHost, Path
from guest.image import Image, ImageError
from guest.writer import Writer

__all__ = ["ClockOffset", "Forward", "Guest", "GuestError", "GuestTimeout", "Image", "ImageError", "LinuxHost",
           "PackageError", "Path", "Result", "Writer"]
