"""The error objects of the target's JSON-RPC."""

from __future__ import annotations

import errno
import os

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
WRONG_STATE = -1


class RpcError(Exception):
    """What a request is answered with when it fails."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_params() -> RpcError:
    return RpcError(INVALID_PARAMS, "Invalid parameters")


def undecodable() -> RpcError:
    """What bdev RPCs say instead of "Invalid parameters"."""
    return RpcError(INTERNAL_ERROR, "spdk_json_decode_object failed")


def from_errno(number: int) -> RpcError:
    return RpcError(-number, os.strerror(number))


def not_permitted() -> RpcError:
    """The one error that bdev_rbd has for everything that went wrong in Ceph."""
    return from_errno(errno.EPERM)
