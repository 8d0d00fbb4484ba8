"""RPC methods for block devices and registered clusters."""

from __future__ import annotations

import errno
import os
import uuid
from typing import TYPE_CHECKING, Any

from . import rate_limits
from .bdev import TICK_RATE, Bdev, BdevError, MallocBdev
from .bdev_rbd import CephFailure, RbdBdev, RbdImage
from .rpc_errors import INVALID_PARAMS, RpcError, from_errno, not_permitted, undecodable
from .rpc_methods import method
from .rpc_params import Field, boolean, one_of, signed32, string, string_list, string_map, u32, u64, uuid_text
from .rpc_params import decode as _decode

if TYPE_CHECKING:
    from .app import App

NAME = Field("name", string, True)
MIB = 1024 * 1024
UNDEFINED = (1 << 64) - 1


def decode(params: Any, *fields: Field, optional: bool = False) -> dict:
    return _decode(params, *fields, optional=optional, refusal=undecodable)


def _find(app: App, name: str) -> Bdev:
    try:
        return app.bdevs.get(name)
    except BdevError as error:
        raise from_errno(error.errno) from error


def _register(app: App, bdev: Bdev) -> str:
    try:
        app.bdevs.add(bdev)
    except BdevError as error:
        bdev.close()
        raise from_errno(error.errno) from error
    return bdev.name


async def _delete(app: App, name: str, kind: type) -> bool:
    bdev = _find(app, name)
    if not isinstance(bdev, kind):
        raise from_errno(errno.ENODEV)
    await app.bdevs.remove(bdev)
    return True


@method("bdev_malloc_create")
def bdev_malloc_create(app: App, params: Any) -> str:
    asked = decode(
        params,
        Field("name", string),
        Field("uuid", uuid_text),
        Field("num_blocks", u64, True),
        Field("block_size", u32, True),
        Field("physical_block_size", u32),
        Field("optimal_io_boundary", u32),
        Field("md_size", u32),
        Field("md_interleave", boolean),
        Field("dif_type", signed32),
        Field("dif_is_head_of_md", boolean),
        Field("dif_pi_format", u32),
        Field("numa_id", signed32),
    )
    if asked["num_blocks"] == 0 or asked["block_size"] == 0 or asked["block_size"] % 512 or asked.get("md_size"):
        raise from_errno(errno.EINVAL)
    name = asked.get("name") or app.bdevs.next_name("Malloc")
    return _register(app, MallocBdev(name, _uuid(asked), asked["block_size"], asked["num_blocks"]))


def _uuid(asked: dict) -> Any:
    """The all-zero uuid means none."""
    given = asked.get("uuid")
    return given if given != uuid.UUID(int=0) else None


@method("bdev_malloc_delete")
async def bdev_malloc_delete(app: App, params: Any) -> bool:
    return await _delete(app, decode(params, NAME)["name"], MallocBdev)


@method("bdev_get_bdevs")
def bdev_get_bdevs(app: App, params: Any) -> list[dict]:
    asked = decode(params, Field("name", string), Field("timeout", u64), optional=True)
    chosen = [_find(app, asked["name"])] if "name" in asked else app.bdevs
    return [bdev.as_json() for bdev in chosen]


@method("bdev_get_iostat")
def bdev_get_iostat(app: App, params: Any) -> dict:
    asked = decode(
        params,
        Field("per_channel", boolean),
        Field("reset_mode", one_of("all", "maxmin", "none")),
        Field("names", string_list),
        optional=True,
    )
    if asked.get("per_channel"):
        raise from_errno(errno.EINVAL)
    chosen = [_find(app, name) for name in asked["names"]] if "names" in asked else app.bdevs
    return {"tick_rate": TICK_RATE, "ticks": app.ticks(), "bdevs": [bdev.iostat_json() for bdev in chosen]}


@method("bdev_set_qd_sampling_period")
def bdev_set_qd_sampling_period(app: App, params: Any) -> bool:
    asked = decode(params, Field("name", string, True), Field("period", u64, True))
    _find(app, asked["name"]).depth_sampler.set_period(asked["period"])
    return True


@method("bdev_set_qos_limit")
def bdev_set_qos_limit(app: App, params: Any) -> bool:
    """Those of a device that has some already can be changed only while a namespace uses it."""
    asked = decode(params, NAME, *(Field(name, u64) for name in rate_limits.NAMES))
    bdev = _find(app, asked.pop("name"))
    limits = {name: value for name, value in asked.items() if value != UNDEFINED}
    if not limits:
        raise RpcError(-errno.EINVAL, "No rate limits specified")
    if bdev.limits and not bdev.is_claimed:
        raise RpcError(INVALID_PARAMS, f"Failed to configure rate limit: {os.strerror(errno.EAGAIN)}")
    bdev.limits.set(limits)
    return True


@method("bdev_wait_for_examine")
def bdev_wait_for_examine(app: App, params: Any) -> bool:
    if params is not None:
        raise RpcError(INVALID_PARAMS, "bdev_wait_for_examine requires no parameters")
    return True


@method("bdev_rbd_register_cluster")
def bdev_rbd_register_cluster(app: App, params: Any) -> str:
    asked = decode(
        params,
        NAME,
        Field("user_id", string),
        Field("config_param", string_map),
        Field("config_file", string),
        Field("key_file", string),
        Field("core_mask", string),
    )
    try:
        app.clusters.register(
            asked["name"],
            **{key: asked.get(key) for key in ("user_id", "config_param", "config_file", "key_file", "core_mask")},
        )
    except CephFailure as error:
        app.say(f"bdev_rbd_register_cluster {asked['name']}: {error}")
        raise not_permitted() from error
    return asked["name"]


@method("bdev_rbd_unregister_cluster")
def bdev_rbd_unregister_cluster(app: App, params: Any) -> bool:
    name = decode(params, NAME)["name"]
    try:
        app.clusters.unregister(name)
    except CephFailure as error:
        app.say(f"bdev_rbd_unregister_cluster {name}: {error}")
        raise not_permitted() from error
    return True


@method("bdev_rbd_get_clusters_info")
def bdev_rbd_get_clusters_info(app: App, params: Any) -> Any:
    asked = decode(params, Field("name", string), optional=True)
    chosen = [cluster.as_json() for cluster in app.clusters if asked.get("name") in (None, cluster.name)]
    if not chosen:
        raise from_errno(errno.ENOENT)
    return chosen[0] if "name" in asked else chosen


@method("bdev_rbd_create")
def bdev_rbd_create(app: App, params: Any) -> str:
    asked = decode(
        params,
        Field("name", string),
        Field("user_id", string),
        Field("pool_name", string, True),
        Field("rbd_name", string, True),
        Field("block_size", u32, True),
        Field("config", string_map),
        Field("cluster_name", string),
        Field("uuid", uuid_text),
        Field("read_only", boolean),
    )
    if asked["block_size"] == 0:
        raise from_errno(errno.EINVAL)
    try:
        cluster = app.clusters.get(asked["cluster_name"]) if "cluster_name" in asked else None
        image = RbdImage(
            asked["pool_name"],
            asked["rbd_name"],
            asked.get("read_only", False),
            cluster,
            asked.get("user_id"),
            asked.get("config"),
        )
    except CephFailure as error:
        app.say(f"bdev_rbd_create {asked['pool_name']}/{asked['rbd_name']}: {error}")
        raise not_permitted() from error
    counted = app.bdevs.next_name("Ceph")
    name = asked.get("name") or counted
    shown = _register(app, RbdBdev(name, _uuid(asked), asked["block_size"], image))
    app.size_watcher.start()
    return shown


@method("bdev_rbd_delete")
async def bdev_rbd_delete(app: App, params: Any) -> bool:
    return await _delete(app, decode(params, NAME)["name"], RbdBdev)


@method("bdev_rbd_resize")
def bdev_rbd_resize(app: App, params: Any) -> bool:
    asked = decode(params, NAME, Field("new_size", u64, True))
    bdev = _find(app, asked["name"])
    size = asked["new_size"] * MIB
    if not isinstance(bdev, RbdBdev) or bdev.block_size * bdev.num_blocks // MIB > asked["new_size"]:
        raise from_errno(errno.EINVAL)
    try:
        bdev.image.resize(size)
    except BdevError as error:
        raise from_errno(error.errno) from error
    app.bdevs.resize(bdev, size // bdev.block_size)
    return True
