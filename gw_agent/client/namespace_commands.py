"""`nvmeof-gw namespace ...`, also `nvmeof-gw ns ...`"""
from __future__ import annotations

from typing import Any, Optional, Tuple

import click

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import ha_pb2
from gw_agent.client import group_view, options, tables
from gw_agent.client.api_client import ApiClient, pass_client
from gw_agent.client.options import CNODE, HOST, all_hosts, command, group
from gw_agent.client.units import size as human_size

YES_NO = click.Choice(["yes", "no"])


@group("namespace", f"""
nvmeof-gw namespace add {CNODE} -p rbd -i disk1 -c --size 10G
nvmeof-gw namespace list
nvmeof-gw ns set_qos {CNODE} --nsid 1 --rw-megabytes-per-second 200
""")
def namespace() -> None:
    """Namespaces: RBD images in a subsystem, which hosts see as disks. `ns` for short."""


@command("add", f"""
nvmeof-gw namespace add {CNODE} -p rbd -i disk1 -c --size 10G
nvmeof-gw namespace add {CNODE} -i disk2 -l 2
""", namespace)
@options.subsystem()
@click.option("--nsid", type=options.NSID, metavar="NSID", help="Namespace id; without one, the lowest free one.")
@click.option("-u", "--uuid", metavar="UUID", help="UUID; without one, a random one.")
@click.option("-p", "--rbd-pool", default="", metavar="POOL", help="Pool; without one, the gateway's.")
@click.option("-i", "--rbd-image", required=True, metavar="IMAGE", help="Name of the image.")
@click.option("-c", "--rbd-create-image", is_flag=True, help="Make the image when there is none.")
@click.option("-s", "--block-size", type=click.IntRange(512, 4096), default=512, show_default=True, metavar="BYTES",
              help="Block size.")
@click.option("-l", "--load-balancing-group", type=options.ANA_GROUP, metavar="GROUP",
              help="ANA group; without one, the gateway chooses.")
@click.option("--size", type=options.Size(), metavar="SIZE", help="Size of a new image, such as 10G.")
@click.option("--force", is_flag=True, help="Also when the image is in use, or is another namespace's.")
@click.option("--no-auto-visible", is_flag=True, help="For chosen hosts only: `nvmeof-gw ns add_host`.")
@click.option("--rbd-trash-image-on-delete", is_flag=True,
              help="Move the image to the trash when the namespace is deleted; for images made here.")
@pass_client
def add(client: ApiClient, subsystem: str, nsid: Optional[int], uuid: Optional[str], rbd_pool: str, rbd_image: str,
        rbd_create_image: bool, block_size: int, load_balancing_group: Optional[int], size: Optional[int],
        force: bool, no_auto_visible: bool, rbd_trash_image_on_delete: bool) -> None:
    """Add an RBD image as a namespace."""
    client.carry_out(f"Adding namespace to {subsystem}", "namespace_add", pb.namespace_add_req(
        rbd_pool_name=rbd_pool, rbd_image_name=rbd_image, subsystem_nqn=subsystem, nsid=nsid, block_size=block_size,
        uuid=uuid, anagrpid=load_balancing_group, create_image=rbd_create_image, size=size, force=force,
        no_auto_visible=no_auto_visible, trash_image=rbd_trash_image_on_delete),
        lambda reply: f"Adding namespace {reply.nsid}: successful")


@command("del", f"nvmeof-gw namespace del {CNODE} --nsid 1", namespace)
@options.subsystem()
@options.nsid
@click.option("--i-am-sure", is_flag=True, help="Needed when its image goes to the trash with it.")
@pass_client
def delete(client: ApiClient, subsystem: str, nsid: int, i_am_sure: bool) -> None:
    """Take a namespace away; its image stays, unless it was to go to the trash."""
    client.carry_out(f"Deleting namespace {nsid} of {subsystem}", "namespace_delete",
                     pb.namespace_delete_req(subsystem_nqn=subsystem, nsid=nsid, i_am_sure=i_am_sure))


@command("list", f"""
nvmeof-gw namespace list
nvmeof-gw namespace list {CNODE} --nsid 1
""", namespace)
@options.subsystem(required=False)
@click.option("--nsid", type=options.NSID, metavar="NSID", help="Only this one.")
@click.option("-u", "--uuid", metavar="UUID", help="Only the one with this UUID.")
@pass_client
def list_namespaces(client: ApiClient, subsystem: str, nsid: Optional[int], uuid: Optional[str]) -> None:
    """List namespaces: image, size, ANA group and where that is optimized, who sees them, limits."""
    client.carry_out("Listing namespaces", "list_namespaces", pb.list_namespaces_req(
        subsystem=subsystem, nsid=nsid, uuid=uuid), lambda reply: tables.namespaces(reply, group_view.known(client)))


@command("resize", f"nvmeof-gw namespace resize {CNODE} --nsid 1 --size 20G", namespace)
@options.subsystem()
@options.nsid
@click.option("--size", type=options.MebibyteSize(), required=True, metavar="SIZE",
              help="New size, such as 20G; an image never shrinks.")
@pass_client
def resize(client: ApiClient, subsystem: str, nsid: int, size: int) -> None:
    """Make the image of a namespace larger; hosts see it at once."""
    client.carry_out(f"Resizing namespace {nsid} of {subsystem} to {human_size(size << 20)}", "namespace_resize",
                     pb.namespace_resize_req(subsystem_nqn=subsystem, nsid=nsid, new_size=size))


@command("get_io_stats", f"nvmeof-gw namespace get_io_stats {CNODE} --nsid 1", namespace)
@options.subsystem()
@options.nsid
@pass_client
def get_io_stats(client: ApiClient, subsystem: str, nsid: int) -> None:
    """I/O counters of a namespace at the gateway that answers; `nvmeof-gw top` shows rates."""
    client.carry_out(f"Asking for I/O counters of namespace {nsid} of {subsystem}", "namespace_get_io_stats",
                     pb.namespace_get_io_stats_req(subsystem_nqn=subsystem, nsid=nsid), tables.io_stats)


@command("set_qos", f"nvmeof-gw namespace set_qos {CNODE} --nsid 1 --rw-ios-per-second 5000", namespace)
@options.subsystem()
@options.nsid
@click.option("--rw-ios-per-second", type=click.IntRange(0), metavar="N",
              help="Reads and writes; targets round it up to thousands.")
@click.option("--rw-megabytes-per-second", "rw_mbytes_per_second", type=click.IntRange(0), metavar="N",
              help="MiB read and written.")
@click.option("--r-megabytes-per-second", "r_mbytes_per_second", type=click.IntRange(0), metavar="N", help="MiB read.")
@click.option("--w-megabytes-per-second", "w_mbytes_per_second", type=click.IntRange(0), metavar="N",
              help="MiB written.")
@pass_client
def set_qos(client: ApiClient, subsystem: str, nsid: int, **limits: Optional[int]) -> None:
    """Limit the I/O of a namespace. 0: no limit; what is not given stays as it is."""
    if all(limit is None for limit in limits.values()):
        raise click.UsageError("no limit is given; give at least one of --rw-ios-per-second, "
                               "--rw-megabytes-per-second, --r-megabytes-per-second and --w-megabytes-per-second "
                               "(0: none)")
    client.carry_out(f"Setting limits of namespace {nsid} of {subsystem}", "namespace_set_qos_limits",
                     pb.namespace_set_qos_req(subsystem_nqn=subsystem, nsid=nsid, **limits))


@command("change_load_balancing_group", f"nvmeof-gw namespace change_load_balancing_group {CNODE} --nsid 1 -l 2",
         namespace)
@options.subsystem()
@options.nsid
@click.option("-l", "--load-balancing-group", type=options.ANA_GROUP, required=True, metavar="GROUP",
              help="ANA group that it goes to.")
@pass_client
def change_load_balancing_group(client: ApiClient, subsystem: str, nsid: int, load_balancing_group: int) -> None:
    """Move a namespace to another ANA group, without an I/O error."""
    client.carry_out(
        f"Moving namespace {nsid} of {subsystem} to ANA group {load_balancing_group}",
        "namespace_change_load_balancing_group", pb.namespace_change_load_balancing_group_req(
            subsystem_nqn=subsystem, nsid=nsid, anagrpid=load_balancing_group))


@command("rebalance", "nvmeof-gw namespace rebalance pause", namespace)
@click.argument("action", type=click.Choice(["pause", "resume"]))
@pass_client
def rebalance(client: ApiClient, action: str) -> None:
    """Have the gateways of the group stop, or go on, moving namespaces to other ANA groups by themselves."""
    client.carry_out(f"Rebalancing: {action}", "pause_rebalance", ha_pb2.pause_rebalance_req(paused=action == "pause"))


@command("change_visibility", f"nvmeof-gw namespace change_visibility {CNODE} --nsid 1 --auto-visible no", namespace)
@options.subsystem()
@options.nsid
@click.option("--auto-visible", type=YES_NO, required=True,
              help="yes: for every host of the subsystem; no: for chosen ones.")
@click.option("--force", is_flag=True, help="Also when hosts were added to it or are connected.")
@pass_client
def change_visibility(client: ApiClient, subsystem: str, nsid: int, auto_visible: str, force: bool) -> None:
    """Choose whether every host of the subsystem sees a namespace."""
    client.carry_out(f"Changing visibility of namespace {nsid} of {subsystem}", "namespace_change_visibility",
                     pb.namespace_change_visibility_req(subsystem_nqn=subsystem, nsid=nsid,
                                                        auto_visible=auto_visible == "yes", force=force))


def _each_host(client: ApiClient, what: str, method: str, message: Any, hosts: Tuple[Tuple[str, ...], ...],
               subsystem: str, nsid: int) -> None:
    client.carry_out_each(all_hosts(*hosts), lambda nqn: client.carry_out(
        what.format(nqn=nqn), method, message(subsystem_nqn=subsystem, nsid=nsid, host_nqn=nqn)))


@command("add_host", f"nvmeof-gw namespace add_host {CNODE} --nsid 1 {HOST}", namespace)
@options.subsystem()
@options.nsid
@options.host_nqns
@pass_client
def add_host(client: ApiClient, subsystem: str, nsid: int, host_nqn: Tuple[str, ...],
             more_hosts: Tuple[str, ...]) -> None:
    """Let hosts see a namespace that is for chosen hosts only."""
    _each_host(client, f"Adding host {{nqn}} to namespace {nsid} of {subsystem}", "namespace_add_host",
               pb.namespace_add_host_req, (host_nqn, more_hosts), subsystem, nsid)


@command("del_host", f"nvmeof-gw namespace del_host {CNODE} --nsid 1 {HOST}", namespace)
@options.subsystem()
@options.nsid
@options.host_nqns
@pass_client
def del_host(client: ApiClient, subsystem: str, nsid: int, host_nqn: Tuple[str, ...],
             more_hosts: Tuple[str, ...]) -> None:
    """Stop letting hosts see a namespace that is for chosen hosts only."""
    _each_host(client, f"Removing host {{nqn}} from namespace {nsid} of {subsystem}", "namespace_delete_host",
               pb.namespace_delete_host_req, (host_nqn, more_hosts), subsystem, nsid)


@command("set_rbd_trash_image",
         f"nvmeof-gw namespace set_rbd_trash_image {CNODE} --nsid 1 --rbd-trash-image-on-delete yes", namespace)
@options.subsystem()
@options.nsid
@click.option("--rbd-trash-image-on-delete", type=YES_NO, required=True, help="Only for images that a gateway made.")
@pass_client
def set_rbd_trash_image(client: ApiClient, subsystem: str, nsid: int, rbd_trash_image_on_delete: str) -> None:
    """Choose whether the image goes to the RBD trash when its namespace is deleted."""
    client.carry_out(f"Setting what becomes of the image of namespace {nsid} of {subsystem}",
                     "namespace_set_rbd_trash_image", pb.namespace_set_rbd_trash_image_req(
                         subsystem_nqn=subsystem, nsid=nsid, trash_image=rbd_trash_image_on_delete == "yes"))
