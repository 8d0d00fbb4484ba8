"""Claims about the published ceph-nvmeof client, unchanged, with two running gateways: every verb works through either,
in text and in JSON, and the other gateway soon shows what was changed. Real processes and cluster; the test is the mgr.
"""
from __future__ import annotations

import base64
import errno
import json
import subprocess
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
from target_sim.initiator import Host
from testbed.ports import free_ports
from testbed.waiting import wait_until

from gateway_host import GatewayHost, MgrInPlace
from published_client import VERSION, PublishedClient, installed

HOSTS = [f"nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8{n}" for n in range(2)]
UUIDS = {"text": "1e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f", "json": "2e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"}
MIB = 1 << 20


def interchange(secret: bytes) -> str:
    """A key for DH-HMAC-CHAP as people pass it on."""
    return f"DHHC-1:01:{base64.b64encode(secret + zlib.crc32(secret).to_bytes(4, 'little')).decode()}:"


KEYS = [interchange(secret * 32) for secret in (b"1", b"2")]
WAIT_S = 60
"""Generous: gateways follow within a second of the notification, but the machine may be busy."""


class Gateway:
    """Where the API of a gateway host is."""

    def __init__(self, host: GatewayHost) -> None:
        self.name, self.host, self.addr = host.name, host, host.addr
        path = host.directory / "run" / "api.json"
        wait_until(path.exists, WAIT_S, f"the API of {host.name}")
        self.port = json.loads(path.read_text())["port"]
        self.listener_port, = free_ports(1, host.addr)


@pytest.fixture(scope="module")
def client() -> Iterator[PublishedClient]:
    with PublishedClient() as running:
        yield running


@pytest.fixture
def pair(mgr: MgrInPlace, cluster: Any, nvmf_tgt: Path, tmp_path: Path) -> Iterator[List[Gateway]]:
    """Two gateways of a group, each optimized for its ANA group, with nothing configured."""
    hosts = [GatewayHost(tmp_path, cluster, nvmf_tgt, f"gw{n}", mgr.seats.group, f"127.0.0.{n + 1}") for n in (1, 2)]
    key = tmp_path / "group.key"
    key.write_text(base64.b64encode(b"k" * 32).decode())
    key.chmod(0o600)
    for host in hosts:
        host.settings.write_text(host.settings.read_text().replace("[ceph]", f"encryption_key = {key}\n[ceph]"))
    mgr.make(*(host.name for host in hosts))
    try:
        for host in hosts:
            host.start()
        for ana_group, host in enumerate(hosts, 1):
            mgr.promote(ana_group, mgr.admit(host.name))
        yield [Gateway(host) for host in hosts]
    finally:
        for host in hosts:
            host.stop()


class Script:
    """The verbs, asked of one gateway in one output format; what they did is looked at through the other one."""

    def __init__(self, client: PublishedClient, output: str, here: Gateway, there: Gateway) -> None:
        self._client = client
        self._output = output
        self.here, self.there = here, there
        self.nqn = ""

    def ask(self, *argv: str) -> Tuple[int, str, str]:
        return self._client.run(self.here.addr, self.here.port, self._output, *argv)

    def done(self, text: str, *argv: str) -> Any:
        """The command line works. `text`: what it prints as text; returns what it prints as JSON, if it does."""
        status, out, errors = self.ask(*argv)
        assert status == 0, (argv, status, out, errors)
        if self._output == "text":
            assert text in out, (argv, out, errors)
            return None
        shown = json.loads(out[out.index("{"):])
        assert shown.get("status", 0) == 0, (argv, shown)
        return shown

    def refused(self, code: int, text: str, *argv: str) -> None:
        status, out, errors = self.ask(*argv)
        assert status == code, (argv, status, out, errors)
        if self._output == "text":
            assert text in errors, (argv, errors)
        else:
            shown = json.loads(out)
            assert shown["status"] == code and text in shown["error_message"], (argv, shown)

    def show(self, gateway: Gateway, *argv: str) -> Dict[str, Any]:
        status, out, errors = self._client.run(gateway.addr, gateway.port, "json", *argv)
        assert status == 0, (argv, out, errors)
        return json.loads(out)

    def seen(self, what: str, look: Callable[[Gateway], Any]) -> None:
        """True here at once and there soon."""
        assert look(self.here), what
        wait_until(lambda: look(self.there), WAIT_S, f"{what} on {self.there.name}", interval_s=0.05)

    # What is listed.

    def subsystems(self, gateway: Gateway) -> List[Dict[str, Any]]:
        return self.show(gateway, "subsystem", "list", "--subsystem", self.nqn)["subsystems"]

    def namespaces(self, gateway: Gateway) -> Dict[int, Dict[str, Any]]:
        shown = self.show(gateway, "namespace", "list", "-n", self.nqn)["namespaces"]
        return {namespace["nsid"]: namespace for namespace in shown}

    def hosts(self, gateway: Gateway) -> Tuple[bool, List[str]]:
        shown = self.show(gateway, "host", "list", "-n", self.nqn)
        return shown["allow_any_host"], [host["nqn"] for host in shown["hosts"]]

    def listeners(self, gateway: Gateway) -> List[str]:
        return sorted(entry["host_name"] for entry in
                      self.show(gateway, "listener", "list", "-n", self.nqn)["listeners"])

    def served(self, gateway: Gateway) -> Dict[int, Dict[str, Any]]:
        """The namespaces that the target itself has, as get_subsystems shows them."""
        _, out, _ = self._client.run(gateway.addr, gateway.port, "json", "get_subsystems")
        found = [s for s in json.loads(out[out.index("{"):])["subsystems"] if s["nqn"] == self.nqn]
        return {namespace["nsid"]: namespace for subsystem in found for namespace in subsystem["namespaces"]}

    # The verbs.

    def gateway(self) -> None:
        self.done(f"CLI version: {VERSION}", "version")
        self.done(f"Gateway's name: {self.here.name}", "gw", "info")
        self.done("Gateway's version: 1.5.1", "gw", "version")
        for level in ("error", "debug"):
            self.done("Successful", "gw", "set_log_level", "--level", level)
            self.done(f'log level is "{level}"', "gw", "get_log_level")
        self.done("Successful", "spdk_log_level", "set", "--level", "WARNING", "--print", "ERROR")
        self.done("SPDK log level is WARNING", "spdk_log_level", "get")
        self.done("Successful", "spdk_log_level", "disable")
        self.done('SPDK nvmf log flag "nvmf" is disabled', "spdk_log_level", "get")

    def subsystem(self) -> None:
        self.nqn = f"nqn.2016-06.io.spdk:{self._output}"
        self.done(f"Adding subsystem {self.nqn}: Successful", "subsystem", "add", "-n", self.nqn, "-s",
                  f"SN{self._output}", "-m", "64", "--no-group-append")
        self.refused(errno.EEXIST, "exists already", "subsystem", "add", "-n", self.nqn, "--no-group-append")
        self.done(self.nqn, "subsystem", "list")
        self.seen("the subsystem", self.subsystems)
        self.refused(errno.EINVAL, "is not of the form", "subsystem", "add", "-n", "nqn.bad", "--no-group-append")

    def listener(self) -> None:
        for gateway in (self.here, self.there):
            self.done("Successful", "listener", "add", "-n", self.nqn, "-t", gateway.name, "-a", gateway.addr, "-s",
                      str(gateway.listener_port))
        self.done(f"{self.here.addr}:{self.here.listener_port}", "listener", "list", "-n", self.nqn)
        self.seen("two listeners", lambda gateway: self.listeners(gateway) == ["gw1", "gw2"])
        self.done(f"{self.here.addr}:{self.here.listener_port}", "--verbose", "gw", "listener_info", "-n", self.nqn)

    def host(self) -> None:
        assert self.ask("host", "add", "-n", self.nqn, "-t", *HOSTS)[0] == 0
        self.done("Successful", "host", "add", "-n", self.nqn, "-t", "*")
        self.seen("the hosts", lambda gateway: self.hosts(gateway) == (True, HOSTS))
        self.done(HOSTS[0], "host", "list", "-n", self.nqn)
        self.done("Successful", "host", "del", "-n", self.nqn, "-t", "*")
        self.done("Successful", "host", "del", "-n", self.nqn, "-t", HOSTS[1])
        self.seen("one host", lambda gateway: self.hosts(gateway) == (False, HOSTS[:1]))

    def keys(self) -> None:
        """In a subsystem of its own: one with a key admits no host without one."""
        nqn = f"{self.nqn}.keys"
        self.done("Successful", "subsystem", "add", "-n", nqn, "--no-group-append", "-k", KEYS[0])
        self.done("Successful", "host", "add", "-n", nqn, "-t", HOSTS[1], "-k", KEYS[0])
        self.done("Successful", "host", "change_key", "-n", nqn, "-t", HOSTS[1], "-k", KEYS[1])
        self.done("Successful", "subsystem", "change_key", "-n", nqn, "-k", KEYS[1])
        self.seen("a host with a key", lambda gateway: [host["use_dhchap"] for host in self.show(
            gateway, "host", "list", "-n", nqn)["hosts"]] == [True])
        shown, = self.show(self.there, "subsystem", "list", "--subsystem", nqn)["subsystems"]
        assert shown["has_dhchap_key"]
        self.refused(errno.EINVAL, "DHHC-1", "host", "change_key", "-n", nqn, "-t", HOSTS[1], "-k", "x")
        self.done("Successful", "subsystem", "del", "-n", nqn)

    def namespace_added(self) -> None:
        image = ["-p", "rbd", "-c", "--size", "8MB", "-n", self.nqn]
        self.done("Adding namespace 1 to", "namespace", "add", *image, "-i", f"{self._output}1",
                  "--rbd-trash-image-on-delete")
        self.done("Adding namespace 7 to", "ns", "add", *image, "-i", f"{self._output}7", "--nsid", "7", "-l", "2",
                  "--no-auto-visible", "--block-size", "4096", "--uuid", UUIDS[self._output])
        self.refused(errno.EEXIST, "is used by namespace 1", "namespace", "add", "-n", self.nqn, "-p", "rbd", "-i",
                     f"{self._output}1")
        self.done(f"rbd/{self._output}7", "namespace", "list")
        self.done("Restrictive", "namespace", "list", "-n", self.nqn, "--nsid", "7")
        self.seen("two namespaces", lambda gateway: sorted(self.namespaces(gateway)) == [1, 7])
        self.seen("both on the target", lambda gateway: sorted(self.served(gateway)) == [1, 7])
        first, second = self.namespaces(self.there).values()
        assert (first["trash_image"], first["auto_visible"], first["block_size"]) == (True, True, 512)
        assert (second["load_balancing_group"], second["auto_visible"], second["block_size"]) == (2, False, 4096)
        assert second["uuid"] == UUIDS[self._output]

    def namespace_changed(self) -> None:
        first, second = ["-n", self.nqn, "--nsid", "1"], ["-n", self.nqn, "--nsid", "7"]
        self.done("to 16 MiB: Successful", "namespace", "resize", *first, "--size", "16MB")
        self.seen("the size", lambda gateway: self.namespaces(gateway)[1]["rbd_image_size"] == str(16 * MIB))
        self.done("to 2: Successful", "namespace", "change_load_balancing_group", *first, "-l", "2")
        self.seen("the ANA group", lambda gateway: self.namespaces(gateway)[1]["load_balancing_group"] == 2)
        wait_until(lambda: self.served(self.there)[1]["anagrpid"] == 2, WAIT_S, "the ANA group on the other target")
        self.refused(errno.EINVAL, "would lose data", "namespace", "resize", *first, "--size", "4MB")
        status, *_ = self.ask("namespace", "set_qos", *first, "--rw-ios-per-second", "2000", "--w-megabytes-per-second",
                              "5")
        assert status == 0
        self.seen("the limits", lambda gateway: [self.namespaces(gateway)[1][name] for name in (
            "rw_ios_per_second", "w_mbytes_per_second", "r_mbytes_per_second")] == ["2000", "5", "0"])
        wait_until(lambda: self._limit_on_target(self.there) == 2000, WAIT_S, "the limit on the other target")
        self.done("Num Write Ops", "namespace", "get_io_stats", *first)
        self.done("Successful", "namespace", "add_host", *second, "-t", HOSTS[0])
        self.seen("who sees it", lambda gateway: self.served(gateway)[7]["hosts"] == HOSTS[:1])
        self.done("Successful", "namespace", "del_host", *second, "-t", HOSTS[0])
        self.seen("who sees it no more", lambda gateway: self.served(gateway)[7]["hosts"] == [])
        self.refused(errno.EOPNOTSUPP, "Ceph's fork", "namespace", "change_visibility", *second, "--auto-visible",
                     "yes")
        self.done("Successful", "namespace", "change_visibility", *second, "--auto-visible", "no")
        self.done("Successful", "namespace", "set_rbd_trash_image", *second, "--rbd-trash-image-on-delete", "yes")
        self.seen("the flag", lambda gateway: self.namespaces(gateway)[7]["trash_image"])
        self.refused(errno.ENOENT, "no namespace 9", "namespace", "resize", "-n", self.nqn, "--nsid", "9", "--size",
                     "9MB")

    def _limit_on_target(self, gateway: Gateway) -> int:
        name = self.namespaces(gateway)[1]["bdev_name"]
        shown, = gateway.host.rpc("bdev_get_bdevs", {"name": name})
        return shown["assigned_rate_limits"]["rw_ios_per_sec"]

    def connection(self) -> None:
        self.done(HOSTS[0], "connection", "list", "-n", self.nqn)
        with Host(self.here.listener_port, self.nqn, hostnqn=HOSTS[0], address=self.here.addr):
            self.done(f"{self.here.addr}:{self.here.listener_port}", "connection", "list", "-n", self.nqn)
            shown, = self.show(self.here, "connection", "list", "-n", self.nqn)["connections"]
            absent, = self.show(self.there, "connection", "list", "-n", self.nqn)["connections"]
        assert (shown["nqn"], shown["connected"], shown["qpairs_count"]) == (HOSTS[0], True, 2)
        assert (absent["nqn"], absent["connected"]) == (HOSTS[0], False)

    def deleted(self) -> None:
        self.refused(errno.EINVAL, "--i-am-sure", "namespace", "del", "-n", self.nqn, "--nsid", "1")
        self.done("Successful", "namespace", "del", "-n", self.nqn, "--nsid", "1", "--i-am-sure")
        self.seen("one namespace", lambda gateway: list(self.namespaces(gateway)) == [7])
        self.done("Successful", "listener", "del", "-n", self.nqn, "-t", self.there.name, "-a", self.there.addr, "-s",
                  str(self.there.listener_port))
        self.seen("one listener", lambda gateway: self.listeners(gateway) == [self.here.name])
        self.refused(errno.EBUSY, "still has namespaces", "subsystem", "del", "-n", self.nqn)
        self.done("Successful", "subsystem", "del", "-n", self.nqn, "--force")
        self.seen("no subsystem", lambda gateway: not self.subsystems(gateway))
        self.seen("none on the target", lambda gateway: not self.served(gateway))


def test_every_verb_works_through_either_gateway_and_shows_on_the_other(
        client: PublishedClient, pair: List[Gateway], cluster: Any) -> None:
    for output, here, there in (("text", *pair), ("json", *reversed(pair))):
        script = Script(client, output, here, there)
        for verbs in (script.gateway, script.subsystem, script.listener, script.host, script.keys,
                      script.namespace_added, script.namespace_changed, script.connection, script.deleted):
            verbs()
    trash = json.loads(cluster.run("rbd", "trash", "ls", "rbd", "--format", "json"))
    assert {"text1", "json1"} <= {entry["name"] for entry in trash}


def test_its_program_is_started_as_a_person_would(client: PublishedClient) -> None:
    """The one above runs the same function of it in one process."""
    done = subprocess.run([str(installed() / "ceph-nvmeof"), "--server-port", "1", "--output", "stdio", "gw", "info"],
                          capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == errno.EINVAL and "Failure getting gateway's information" in done.stderr
