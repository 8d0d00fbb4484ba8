"""For tests: a small NVMe/TCP host. Blocking, one socket per queue, several commands may be in flight.

It is written from the specifications alone, apart from the constants that the stand-in uses too, so that it can
tell whether either target speaks NVMe/TCP.
"""

from __future__ import annotations

import socket
import struct
import time
import uuid
from typing import NamedTuple, Optional

LIMIT_S = 60.0
ICREQ, ICRESP, CAPSULE, RESPONSE, H2C_DATA, C2H_DATA, R2T = 0, 1, 4, 5, 6, 7, 9
LAST, SUCCESS = 4, 8
IN_CAPSULE_LIMIT = 4096
FABRICS, CONNECT, PROPERTY_GET, PROPERTY_SET = 0x7F, 1, 4, 0
PATH_INACCESSIBLE = 0x302


class Completion(NamedTuple):
    """`status` is (status code type << 8) | status code, without the "do not retry" bit that `dnr` holds."""

    status: int
    dnr: bool
    dw0: int
    dw1: int
    data: bytes


class DiscoveryEntry(NamedTuple):
    """One entry of a discovery log. `subtype`: 1 another discovery service, 2 a subsystem, 3 this discovery service."""

    subtype: int
    secure: bool
    nqn: str
    traddr: str
    trsvcid: str
    flags: int


class ConnectionEnded(Exception):
    """The target closed the connection."""


class Queue:
    """One queue pair. Admin when `qid` is 0."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((address, port), timeout=LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._next_cid = 0
        self._to_send: dict[int, bytes] = {}
        self._read: dict[int, bytearray] = {}
        self._done: dict[int, Completion] = {}
        self.in_capsule_limit = 8192
        self._socket.sendall(struct.pack("<BBBBIHBBI112x", ICREQ, 0, 128, 0, 128, 0, 0, 0, 0))
        kind, _, answer = self._pdu()
        assert kind == ICRESP and len(answer) == 128, (kind, answer)
        self.digests, self.max_h2c_data = answer[11], struct.unpack_from("<I", answer, 12)[0]

    # commands

    def submit(
        self,
        opcode: int,
        nsid: int = 0,
        cdw10: int = 0,
        cdw11: int = 0,
        cdw12: int = 0,
        cdw13: int = 0,
        data: bytes = b"",
        length: int = 0,
        fabrics: Optional[bytes] = None,
    ) -> int:
        """Sends a command and returns its id. `data` goes out, `length` bytes are expected in. `fabrics` is the 24
        bytes from offset 40.
        """
        cid = self._next_cid
        self._next_cid = (cid + 1) % 128
        in_capsule = len(data) if len(data) <= self.in_capsule_limit else 0
        sgl = struct.pack("<QIxxxB", 0, len(data) or length, 1 if in_capsule else 0x5A)
        tail = fabrics if fabrics is not None else struct.pack("<IIIIII", cdw10, cdw11, cdw12, cdw13, 0, 0)
        command = struct.pack("<BBHI16x", opcode, 0x40, cid, nsid) + sgl + tail
        if data and not in_capsule:
            self._to_send[cid] = data
        self._read[cid] = bytearray()
        sent = data if in_capsule else b""
        self._socket.sendall(struct.pack("<BBBBI", CAPSULE, 0, 72, 72 if sent else 0, 72 + len(sent)) + command + sent)
        return cid

    def wait(self, cid: int) -> Completion:
        while cid not in self._done:
            self._handle(*self._pdu())
        return self._done.pop(cid)

    def command(self, opcode: int, **fields) -> Completion:
        return self.wait(self.submit(opcode, **fields))

    def is_done(self, cid: int, within_s: float = 0.0) -> bool:
        """Looks at what arrives within that time."""
        end = time.monotonic() + within_s
        while cid not in self._done:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                self._handle(*self._pdu())
            except socket.timeout:
                if time.monotonic() >= end:
                    break
            finally:
                self._socket.settimeout(LIMIT_S)
        return cid in self._done

    def connect(
        self, nqn: str, qid: int, cntlid: int, hostnqn: str, hostid: bytes, kato_ms: int, size: int = 31
    ) -> Completion:
        data = (
            hostid
            + struct.pack("<H238x", cntlid)
            + nqn.encode().ljust(256, b"\0")
            + hostnqn.encode().ljust(256, b"\0")
            + bytes(256)
        )
        answer = self.command(
            FABRICS, nsid=CONNECT, data=data, fabrics=struct.pack("<HHHBBI12x", 0, qid, size, 0, 0, kato_ms)
        )
        if qid:
            self.in_capsule_limit = IN_CAPSULE_LIMIT
        return answer

    def is_closed(self, within_s: float) -> bool:
        """Whether the target closes the connection within that time."""
        self._socket.settimeout(within_s)
        try:
            while self._socket.recv(1 << 16):
                pass
            return True
        except socket.timeout:
            return False
        except ConnectionError:
            return True
        finally:
            self._socket.settimeout(LIMIT_S)

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def next_pdu(self) -> tuple[int, int, bytes]:
        return self._pdu()

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    # PDUs

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionEnded
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _pdu(self) -> tuple[int, int, bytes]:
        """Type, flags and the whole PDU."""
        while len(self._received) < 8 or len(self._received) < struct.unpack_from("<I", self._received, 4)[0]:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionEnded
            self._received += data
        pdu = self._take(struct.unpack_from("<I", self._received, 4)[0])
        return pdu[0], pdu[1], pdu

    def _handle(self, kind: int, flags: int, pdu: bytes) -> None:
        if kind == RESPONSE:
            dw0, dw1, _, _, cid, status = struct.unpack_from("<IIHHHH", pdu, 8)
            self._finish(
                cid, Completion(status >> 1 & 0x7FF, bool(status >> 15), dw0, dw1, bytes(self._read.get(cid, b"")))
            )
        elif kind == C2H_DATA:
            cid, _, offset, length = struct.unpack_from("<HHII", pdu, 8)
            assert offset == len(self._read[cid]) and len(pdu) == pdu[3] + length, "data out of order"
            self._read[cid] += pdu[pdu[3] :]
            if flags & SUCCESS:
                self._finish(cid, Completion(0, False, 0, 0, bytes(self._read[cid])))
        elif kind == R2T:
            cid, tag, offset, length = struct.unpack_from("<HHII", pdu, 8)
            self._send_data(cid, tag, offset, length)
        else:
            raise AssertionError(f"unexpected PDU type {kind}: {pdu[:32].hex()}")

    def _send_data(self, cid: int, tag: int, offset: int, length: int) -> None:
        data = self._to_send[cid][offset : offset + length]
        for start in range(0, length, self.max_h2c_data):
            part = data[start : start + self.max_h2c_data]
            flags = LAST if start + len(part) == length else 0
            self._socket.sendall(
                struct.pack(
                    "<BBBBIHHIIxxxx", H2C_DATA, flags, 24, 24, 24 + len(part), cid, tag, offset + start, len(part)
                )
                + part
            )

    def _finish(self, cid: int, completion: Completion) -> None:
        self._read.pop(cid, None)
        self._to_send.pop(cid, None)
        self._done[cid] = completion


class Host:
    """A host connected to one subsystem at one address: an admin queue, enabled, and I/O queues as asked."""

    def __init__(
        self,
        port: int,
        nqn: str,
        queues: int = 1,
        kato_ms: int = 0,
        hostnqn: Optional[str] = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.hostid = uuid.uuid4()
        self.hostnqn = hostnqn or f"nqn.2014-08.org.nvmexpress:uuid:{self.hostid}"
        self.admin = Queue(port, address)
        answer = self.admin.connect(nqn, 0, 0xFFFF, self.hostnqn, self.hostid.bytes, kato_ms)
        assert answer.status == 0, answer
        self.cntlid = answer.dw0 & 0xFFFF
        assert self.set_property(0x14, 0x00460001).status == 0
        assert self.get_property(0x1C) & 1, "not ready"
        self.io = []
        for qid in range(1, queues + 1):
            queue = Queue(port, address)
            answer = queue.connect(nqn, qid, self.cntlid, self.hostnqn, self.hostid.bytes, 0)
            assert answer.status == 0, answer
            self.io.append(queue)

    def get_property(self, offset: int, size: int = 4) -> int:
        answer = self.admin.command(FABRICS, nsid=PROPERTY_GET, fabrics=struct.pack("<BxxxI16x", size == 8, offset))
        assert answer.status == 0, answer
        return answer.dw1 << 32 | answer.dw0

    def set_property(self, offset: int, value: int) -> Completion:
        return self.admin.command(FABRICS, nsid=PROPERTY_SET, fabrics=struct.pack("<BxxxIQ8x", 0, offset, value))

    def identify(self, cns: int, nsid: int = 0, csi: int = 0) -> Completion:
        return self.admin.command(0x06, nsid=nsid, cdw10=cns, cdw11=csi << 24, length=4096)

    def log_page(self, page: int, length: int, retain: bool = False, offset: int = 0) -> Completion:
        words = length // 4 - 1
        return self.admin.command(
            0x02,
            nsid=0xFFFFFFFF if page != 0x70 else 0,
            cdw10=page | retain << 15 | (words & 0xFFFF) << 16,
            cdw11=words >> 16,
            cdw12=offset,
            length=length,
        )

    def discovery_log(self) -> list[DiscoveryEntry]:
        """In its order."""
        count = struct.unpack_from("<8xQ", self.log_page(0x70, 1024).data)[0]
        page = self.log_page(0x70, 1024 * (count + 1)).data
        found = []
        for start in range(1024, 1024 * (count + 1), 1024):
            subtype, requirements, flags = struct.unpack_from("<xxBBxxxxxxH", page, start)
            nqn, address, service = page[start + 256 : start + 512], page[start + 512 : start + 768], page[start + 32 :]
            found.append(
                DiscoveryEntry(
                    subtype,
                    requirements & 3 == 1,
                    nqn.rstrip(b"\0").decode(),
                    address.rstrip(b" \0").decode(),
                    service[:32].rstrip(b" \0").decode(),
                    flags,
                )
            )
        return found

    def ana_states(self) -> dict[int, int]:
        """ANA group id -> state, from the ANA log."""
        page = self.log_page(0x0C, 4096).data
        count, position, states = struct.unpack_from("<H", page, 8)[0], 16, {}
        for _ in range(count):
            group, namespaces = struct.unpack_from("<II", page, position)
            states[group] = page[position + 16] & 0xF
            position += 32 + 4 * namespaces
        return states

    def read(self, nsid: int, block: int, blocks: int, block_size: int = 512) -> Completion:
        return self.io[0].command(
            0x02, nsid=nsid, cdw10=block & 0xFFFFFFFF, cdw11=block >> 32, cdw12=blocks - 1, length=blocks * block_size
        )

    def submit_write(self, nsid: int, block: int, data: bytes, block_size: int = 512) -> int:
        return self.io[0].submit(
            0x01, nsid=nsid, cdw10=block & 0xFFFFFFFF, cdw11=block >> 32, cdw12=len(data) // block_size - 1, data=data
        )

    def write(self, nsid: int, block: int, data: bytes, block_size: int = 512) -> Completion:
        return self.io[0].wait(self.submit_write(nsid, block, data, block_size))

    def close(self) -> None:
        for queue in (*self.io, self.admin):
            queue.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
