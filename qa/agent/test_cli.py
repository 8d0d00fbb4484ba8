"""Claims about the command line client: its arguments alone, and the whole way to a running gateway."""
from __future__ import annotations

import json
import uuid

import pytest
import rados
from running_target import gateway_settings, running_target
from standalone_gateway import StandaloneGateway
from testbed.ports import free_ports

from gw_agent import cli, cli_tables

HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"


@pytest.fixture(scope="module")
def gateway(nvmf_tgt, cluster, tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli")
    with rados.Rados(conffile=str(cluster.conf), name="client.admin") as ceph, \
            running_target(nvmf_tgt, directory) as path, \
            StandaloneGateway(ceph, gateway_settings(directory, cluster, group="cli"), path) as running:
        yield running


@pytest.fixture
def run(gateway, capsys):
    """Runs the client; returns exit code, output, errors."""
    address, port = gateway.address.split(":")

    def call(*argv):
        code = cli.main(["--server-address", address, "--server-port", port, *argv])
        return (code, *capsys.readouterr())
    return call


@pytest.fixture
def nqn(run):
    code, out, _ = run("--format", "json", "subsystem", "add", "-n", f"nqn.2016-06.io.spdk:{uuid.uuid4()}")
    assert code == 0
    return json.loads(out)["nqn"]


def test_a_subsystem_from_nothing_to_served_and_back(run, nqn):
    port, = free_ports(1, "127.0.0.2")
    listener = ("-n", nqn, "-a", "127.0.0.2", "-s", str(port))
    for command, expected in (
            (("ns", "add", "-n", nqn, "-i", f"cli-{port}", "-c", "--size", "4M"), "Adding namespace 1: successful"),
            (("host", "add", "-n", nqn, "-t", HOST), f"Adding host {HOST} to {nqn}: successful"),
            (("listener", "add", *listener), f"Adding listener 127.0.0.2:{port} of {nqn}: successful"),
            (("ns", "list", "-n", nqn), f"rbd/cli-{port}"), (("ns", "list", "-n", nqn), "4 MiB"),
            (("subsystem", "list"), nqn), (("host", "list", "-n", nqn), HOST),
            (("listener", "list", "-n", nqn), f"127.0.0.2:{port}"),
            (("gw", "listener_info", "-n", nqn), "inaccessible"), (("gw", "info"), "gw1"),
            (("listener", "del", *listener), "successful"), (("listener", "list", "-n", nqn), "No listeners"),
            (("host", "del", "-n", nqn, "-t", HOST), "Removing host"),
            (("namespace", "del", "-n", nqn, "--nsid", "1"), f"Deleting namespace 1 of {nqn}: successful"),
            (("namespace", "list"), "No namespaces"), (("subsystem", "del", "-n", nqn), "successful"),
            (("subsystem", "list"), "No subsystems")):
        code, out, err = run(*command)
        assert code == 0 and expected in out and not err, (command, out, err)


def test_json_has_the_fields_of_the_api_also_when_they_are_zero(run, nqn):
    code, out, _ = run("--format", "json", "subsystem", "list", "-n", nqn)
    subsystem, = json.loads(out)["subsystems"]
    assert code == 0 and subsystem["namespace_count"] == 0 and subsystem["nqn"] == nqn
    run("subsystem", "del", "-n", nqn)


def test_a_refusal_is_exit_code_one_with_the_reason(run):
    code, out, err = run("subsystem", "del", "-n", "nqn.2016-06.io.spdk:none")
    assert code == 1 and out == ""
    assert "Deleting subsystem nqn.2016-06.io.spdk:none: failed: there is no subsystem" in err


def test_a_gateway_that_cannot_be_reached_is_exit_code_one_with_its_address(capsys):
    port, = free_ports(1)
    assert cli.main(["--server-address", "127.0.0.1", "--server-port", str(port), "gw", "info"]) == 1
    assert f"127.0.0.1:{port} did not answer get_gateway_info: UNAVAILABLE" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [
    [], ["subsystem"], ["subsystem", "add"], ["ns", "add", "-n", "n", "-i", "i", "--size", "big"],
    ["ns", "del", "-n", "n", "--nsid", "-1"], ["ns", "del", "-n", "n", "--nsid", "x"],
    ["listener", "add", "-n", "n", "-a", "a", "-s", "70000"], ["--format", "xml", "gw", "info"], ["nosuch"]])
def test_wrong_arguments_are_exit_code_two_with_the_usage(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2 and "usage: nvmeof-gw-cli" in capsys.readouterr().err


@pytest.mark.parametrize("text, size", [("1", 1 << 20), ("512MB", 512 << 20), ("10G", 10 << 30), ("20 MiB", 20 << 20),
                                        ("4k", 4096), ("1TB", 1 << 40)])
def test_sizes_are_read_in_powers_of_1024_and_in_mib_without_a_unit(text, size):
    assert cli.size_in_bytes(text) == size


@pytest.mark.parametrize("size, text", [(0, "unknown"), (512, "512 B"), (8 << 20, "8 MiB"), (1 << 40, "1 TiB"),
                                        ((1 << 30) + (1 << 20), "1025 MiB"), (4096 << 40, "4096 TiB")])
def test_sizes_are_shown_in_the_largest_unit_that_is_exact(size, text):
    assert cli_tables.size(size) == text
