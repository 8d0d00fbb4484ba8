"""The guest's kernel and initramfs: a stock Debian kernel, nvme-cli, busybox, and our two programs.

`Image().ensure()` returns at once when the image is built and nothing that goes into it has changed; packages are fetched
once per suite and kept. Several processes may ask at the same time: one builds, the others wait for it. For x86-64 only.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from guest.cpio import Archive
from guest.debian import Download
from guest.elf import module_dependencies, needed_libraries

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "guest"
SUITES = ("bookworm", "trixie")
PACKAGES = ["nvme-cli", "busybox-static"]
KERNEL_PACKAGE = "linux-image-cloud-amd64"
BOOT_MODULES = ["virtio_pci", "virtio_console", "virtio_rng", "virtio_net", "crc32c_intel", "nvme_fabrics", "nvme_tcp"]
MORE_MODULES = ["brd", "nvmet", "nvmet_tcp"]
DIRECTORIES = ["proc", "sys", "dev", "run", "tmp", "root", "jobs"]
PROGRAMS = {"guest_agent": ["guest_agent.c"],
            "stamp_writer": ["stamp_writer.c", "stamp_block.c", "stamp_figures.c", "stamp_options.c"]}
BUILDERS = ["image.py", "cpio.py", "elf.py", "debian.py", "guest-files/*", "guest-src/*"]

Progress = Callable[[str], None]


class ImageError(Exception):
    """The image cannot be built; the text says what to do."""


def say(text: str) -> None:
    print(text, flush=True)


def module_name(path: str) -> str:
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


class Image:
    """One suite's image; `kernel` and `initramfs` exist after ensure()."""

    def __init__(self, suite: str = "", cache: Path = CACHE) -> None:
        self.suite = suite or os.environ.get("NVME_GUEST_SUITE", SUITES[0])
        if self.suite not in SUITES:
            raise ImageError(f"no guest image for suite {self.suite!r}: NVME_GUEST_SUITE is one of {', '.join(SUITES)}")
        self.directory = Path(cache) / self.suite
        self.kernel = self.directory / "vmlinuz"
        self.initramfs = self.directory / "initramfs"
        self.stamp = self.directory / "stamp"
        self.fetched = self.directory / "fetched"

    def content_stamp(self) -> str:
        """Changes with everything that goes into the image, except the versions of the packages kept in the cache."""
        digest = hashlib.sha256(f"{self.suite} {PACKAGES} {KERNEL_PACKAGE}".encode())
        for pattern in BUILDERS:
            for path in sorted(HERE.glob(pattern)):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def is_built(self) -> bool:
        return (self.stamp.exists() and self.stamp.read_text() == self.content_stamp()
                and self.kernel.exists() and self.initramfs.exists())

    def ensure(self, progress: Progress = say) -> None:
        """Builds the image unless it is there. Raises ImageError, debian.PackageError."""
        if self.is_built():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / ".gitignore").write_text("*\n")   # the cache is inside the checkout by default
        with open(self.directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.is_built():
                self.build(progress)

    def build(self, progress: Progress) -> None:
        kernel = self.fetch(progress)
        progress("guest image: unpacking and compiling")
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            root, kernel_root = Path(scratch, "root"), Path(scratch, "kernel")
            for package in sorted((self.directory / "packages").glob("*.deb")):
                is_kernel = package.name.startswith(kernel + "_")
                run(["dpkg-deb", "-x", str(package), str(kernel_root if is_kernel else root)])
            archive = Archive()
            for directory in DIRECTORIES:
                archive.directory(directory)
            add_tools(archive, root)
            add_modules(archive, kernel_root)
            add_own_files(archive, Path(scratch))
            content = archive.finish()
            self.stamp.unlink(missing_ok=True)
            self.initramfs.write_bytes(content)
            shutil.copy(next(kernel_root.glob("boot/vmlinuz-*")), self.kernel)
        self.stamp.write_text(self.content_stamp())
        progress(f"guest image: done: {kernel}, initramfs of {len(content) / 2 ** 20:.0f} MiB in {self.directory}")

    def fetch(self, progress: Progress) -> str:
        """Fetches the packages unless they are in the cache. The kernel package's name."""
        wanted = " ".join([*PACKAGES, KERNEL_PACKAGE])
        if self.fetched.exists():
            names, _, kernel = self.fetched.read_text().partition("\n")
            if names == wanted:
                return kernel
        for path in (self.directory / "packages", self.directory / "lists"):
            shutil.rmtree(path, ignore_errors=True)
        download = Download(self.suite, self.directory)
        download.prepare()
        progress(f"guest image: reading {self.suite}'s package lists")
        download.update()
        progress("guest image: fetching the kernel (27 MB)")
        kernel = download.fetch_dependency(KERNEL_PACKAGE)
        progress("guest image: fetching nvme-cli and busybox")
        download.fetch(PACKAGES)
        self.fetched.write_text(f"{wanted}\n{kernel}")
        return kernel


def run(command: list[str]) -> str:
    if not shutil.which(command[0]):
        raise ImageError(f"{command[0]} is not installed: `apt-get install dpkg gcc libc6-dev`")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def inside(root: Path, path: Path) -> Path:
    """The file that `path` is once `root` is the root directory: absolute links point into the guest, not at us."""
    while path.is_symlink():
        target = os.readlink(path)
        path = Path(root, target.lstrip("/")) if target.startswith("/") else path.parent / target
    return path


def add_tools(archive: Archive, root: Path) -> None:
    busybox = next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists())
    archive.file("bin/busybox", busybox.read_bytes(), executable=True)
    for applet in run([str(busybox), "--list"]).split():
        if applet != "busybox":
            archive.link(f"bin/{applet}", "busybox")
    nvme = (root / "usr/sbin/nvme").read_bytes()
    archive.file("usr/sbin/nvme", nvme, executable=True)
    libraries = {path.name: path for pattern in ("**/x86_64-linux-gnu/*.so*", "**/lib64/*.so*") for path in root.glob(pattern)}
    wanted, placed = needed_libraries(nvme), set()
    while wanted:
        name = wanted.pop()
        if name in placed:
            continue
        if name not in libraries:
            raise ImageError(f"nvme-cli needs the library {name}, which is in none of its packages: "
                             "remove the cache directory and build again")
        content = inside(root, libraries[name]).read_bytes()
        archive.file(("lib64/" if name.startswith("ld-linux") else "lib/") + name, content, executable=True)
        placed.add(name)
        wanted += needed_libraries(content)


def read_module(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def add_modules(archive: Archive, kernel_root: Path) -> None:
    """The modules we use with what they need, and the modules.dep that modprobe reads (so depmod is not needed)."""
    tree = next(path for pattern in ("lib/modules/*", "usr/lib/modules/*") for path in kernel_root.glob(pattern))
    available = {module_name(path.name): path for path in tree.glob("kernel/**/*.ko*")}
    builtin = {module_name(line) for line in (tree / "modules.builtin").read_text().split()}
    direct: dict[str, list[str]] = {}

    def place(name: str) -> None:
        if name in builtin or name in direct:
            return
        if name not in available:
            raise ImageError(f"the kernel {tree.name} has no module {name}")
        content = read_module(available[name])
        direct[name] = [module_name(other) for other in module_dependencies(content)]
        archive.file(f"lib/modules/{tree.name}/{name}.ko", content)
        for other in direct[name]:
            place(other)

    def in_load_order(name: str, order: list[str]) -> list[str]:
        for other in direct.get(name, []):
            in_load_order(other, order)
        if name in direct and name not in order:
            order.append(name)
        return order

    for name in BOOT_MODULES + MORE_MODULES:
        place(name)
    lines = []
    for name in direct:
        needed = in_load_order(name, [])[-2::-1]    # modprobe loads the last one first
        lines.append(f"{name}.ko: {' '.join(f'{other}.ko' for other in needed)}\n")
    archive.file(f"lib/modules/{tree.name}/modules.dep", "".join(lines).encode())
    archive.file("etc/modules.boot", "".join(f"{name}\n" for name in BOOT_MODULES if name in direct).encode())


def add_own_files(archive: Archive, scratch: Path) -> None:
    for program, sources in PROGRAMS.items():
        built = scratch / program
        run(["gcc", "-O2", "-static", "-pthread", "-s", "-o", str(built), *(str(HERE / "guest-src" / name) for name in sources)])
        archive.file(f"bin/{program}", built.read_bytes(), executable=True)
    archive.file("init", (HERE / "guest-files/init").read_bytes(), executable=True)
    archive.file("bin/nvme-state", (HERE / "guest-files/nvme-state").read_bytes(), executable=True)
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
