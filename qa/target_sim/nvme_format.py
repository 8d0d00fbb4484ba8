"""NVMe wire formats: opcodes, status codes and the layouts of commands, completions and NVMe/TCP PDUs.

Names and numbers follow the NVM Express base, NVM command set, NVMe over Fabrics and TCP transport specifications.
"""

from __future__ import annotations

import struct

# A status is (status code type << 8) | status code; DNR is the "do not retry" bit in the same numbering.
SUCCESS = 0x000
INVALID_OPCODE = 0x001
INVALID_FIELD = 0x002
INTERNAL_ERROR = 0x006
ABORTED_BY_REQUEST = 0x007
INVALID_NAMESPACE = 0x00B
COMMAND_SEQUENCE_ERROR = 0x00C
SGL_LENGTH_INVALID = 0x00F
SGL_TYPE_INVALID = 0x011
KEEP_ALIVE_INVALID = 0x019
LBA_OUT_OF_RANGE = 0x080
INVALID_QUEUE_ID = 0x101
AER_LIMIT_EXCEEDED = 0x105
INVALID_LOG_PAGE = 0x109
NOT_SAVEABLE = 0x10D
NOT_CHANGEABLE = 0x10E
INCOMPATIBLE_FORMAT = 0x180
CONNECT_INVALID_PARAM = 0x182
CONNECT_INVALID_HOST = 0x184
AUTHENTICATION_REQUIRED = 0x191
ANA_INACCESSIBLE = 0x302
DNR = 0x4000

FABRICS = 0x7F
FABRICS_PROPERTY_SET, FABRICS_CONNECT, FABRICS_PROPERTY_GET = 0x00, 0x01, 0x04
ADMIN_GET_LOG_PAGE, ADMIN_IDENTIFY, ADMIN_ABORT, ADMIN_SET_FEATURES, ADMIN_GET_FEATURES = 0x02, 0x06, 0x08, 0x09, 0x0A
ADMIN_ASYNC_EVENT, ADMIN_KEEP_ALIVE = 0x0C, 0x18
IO_FLUSH, IO_WRITE, IO_READ, IO_WRITE_ZEROES, IO_DATASET_MANAGEMENT = 0x00, 0x01, 0x02, 0x08, 0x09

ICREQ, ICRESP, H2C_TERM_REQ, C2H_TERM_REQ, CAPSULE_CMD, CAPSULE_RESP, H2C_DATA, C2H_DATA, R2T = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    9,
)
FLAG_LAST, FLAG_SUCCESS = 0x4, 0x8
SGL_IN_CAPSULE, SGL_TRANSPORT = 0x01, 0x5A
TERM_INVALID_HEADER, TERM_SEQUENCE_ERROR, TERM_DATA_OUT_OF_RANGE = 1, 2, 5

PDU_HEADER = struct.Struct("<BBBBI")
PDU_HEADER_SIZE = 8
COMMAND = struct.Struct("<BBHI24xIxxxBIIII8x")
COMMAND_SIZE = 64
CAPSULE_HEADER_SIZE = PDU_HEADER_SIZE + COMMAND_SIZE
DATA_HEADER = struct.Struct("<BBBBIHHIIxxxx")
DATA_HEADER_SIZE = 24
RESPONSE = struct.Struct("<BBBBIIIHHHH")
RESPONSE_SIZE = 24
IC_SIZE = 128
IC_RESPONSE = struct.Struct("<BBBBIHBBI112x")
TERM_REQUEST = struct.Struct("<BBBBIHI10x")

MAX_QUEUE_DEPTH = 128
MAX_QUEUE_PAIRS = 128
IN_CAPSULE_SIZE = 4096
MAX_IO_SIZE = 131072
KEEP_ALIVE_GRANULARITY_MS = 10000
KEEP_ALIVE_MINIMUM_MS = 10000


class Command:
    """One command while it is executed. `data` is what the host sent with it."""

    __slots__ = (
        "connection",
        "opcode",
        "fuse",
        "cid",
        "nsid",
        "length",
        "sgl_type",
        "cdw10",
        "cdw11",
        "cdw12",
        "cdw13",
        "raw",
        "data",
        "buffer",
        "received",
        "namespace",
    )

    def __init__(self, connection, raw: bytes) -> None:
        self.connection = connection
        self.raw = raw
        (
            self.opcode,
            flags,
            self.cid,
            self.nsid,
            self.length,
            self.sgl_type,
            self.cdw10,
            self.cdw11,
            self.cdw12,
            self.cdw13,
        ) = COMMAND.unpack(raw)
        self.fuse = flags & 3
        self.data = b""
        self.buffer = None
        self.received = 0
        self.namespace = None

    def sends_data(self) -> bool:
        """Whether data goes from the host to the controller (bit 0 of the opcode, or of the fabrics type)."""
        kind = self.nsid & 0xFF if self.opcode == FABRICS else self.opcode
        return kind & 3 == 1

    def complete(self, status: int = SUCCESS, dw0: int = 0, dw1: int = 0, data: bytes = b"") -> None:
        self.connection.complete(self, status, dw0, dw1, data)
