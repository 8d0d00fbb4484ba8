"""Claims about nvmeof-gw: its arguments alone, and the whole way to a running gateway."""
from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import uuid
import zlib
from pathlib import Path

import click
import pytest
import rados
from click.testing import CliRunner
from running_target import gateway_settings, running_target
from standalone_gateway import StandaloneGateway
from target_sim.initiator import Host
from testbed.ports import free_ports

from gw_agent.group_status import Known
from gw_agent.settings import API_SOCKET
from gw_agent.client.main import cli, main
from gw_agent.client.options import KeySource, MebibyteSize, Size
from nvmeof_ha_core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Version
from nvmeof_ha_core.register import View

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
SECOND_HOST = HOST[:-1] + "0"


@pytest.fixture(scope="module")
def gateway(nvmf_tgt, cluster, tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli")
    group_key = directory / "group.key"
    group_key.touch(mode=0o600)
    group_key.write_text(base64.b64encode(os.urandom(32)).decode())
    settings = gateway_settings(directory, cluster, group="cli", more=f"encryption_key = {group_key}\n")
    with rados.Rados(conffile=str(cluster.conf), name="client.admin") as ceph, \
            running_target(nvmf_tgt, directory) as path, \
            StandaloneGateway(ceph, settings, path) as running:
        yield running


@pytest.fixture
def run(gateway, capsys):
    """Runs the client; returns exit code, output, errors."""
    address, port = gateway.address.split(":")

    def call(*argv):
        code = main(["--server-address", address, "--server-port", port, *argv])
        return (code, *capsys.readouterr())
    return call


@pytest.fixture
def nqn(run):
    code, out, _ = run("--format", "json", "subsystem", "add", "-n", f"nqn.2016-06.io.spdk:{uuid.uuid4()}")
    assert code == 0
    name = json.loads(out)["nqn"]
    yield name
    run("subsystem", "del", "-n", name, "--force")


def test_a_subsystem_from_nothing_to_served_and_back(run, nqn):
    port, = free_ports(1, "127.0.0.2")
    listener = ("-n", nqn, "-a", "127.0.0.2", "-s", str(port))
    for command, expected in (
            (("ns", "add", "-n", nqn, "-i", f"cli-{port}", "-c", "--size", "4M"), "Adding namespace 1: successful"),
            (("host", "add", "-n", nqn, "-t", HOST), f"Adding host {HOST} to {nqn}: successful"),
            (("listener", "add", *listener), f"Adding listener 127.0.0.2:{port} of {nqn}: successful"),
            (("ns", "list", "-n", nqn), f"rbd/cli-{port}"), (("ns", "list", "-n", nqn), "4 MiB"),
            (("ns", "list", "-n", nqn), "all hosts"), (("get_subsystems",), f"127.0.0.2:{port}"),
            (("subsystem", "list"), nqn), (("host", "list", "-n", nqn), HOST),
            (("listener", "list", "-n", nqn), f"127.0.0.2:{port}"),
            (("gw", "listener_info", "-n", nqn), "inaccessible"), (("gw", "info"), "gw1"),
            (("gw", "version"), "Gateway's version: "),
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


def test_a_refusal_is_exit_code_one_with_the_reason(run):
    code, out, err = run("subsystem", "del", "-n", "nqn.2016-06.io.spdk:none")
    assert code == 1 and out == ""
    assert "Deleting subsystem nqn.2016-06.io.spdk:none: failed: there is no subsystem" in err


def test_of_several_hosts_each_is_tried_and_a_refused_one_is_named(run, nqn):
    assert run("host", "add", "-n", nqn, "-t", HOST)[0] == 0
    code, out, err = run("host", "add", "-n", nqn, "-t", HOST, "not-an-nqn", SECOND_HOST)
    assert code == 1 and f"Adding host {SECOND_HOST} to {nqn}: successful" in out
    assert "not-an-nqn" in err and "failed" in err
    assert run("host", "del", "-n", nqn, "-t", HOST, "-t", SECOND_HOST)[0] == 0
    assert "No hosts may connect" in run("host", "list", "-n", nqn)[1]


def test_a_key_gets_from_its_file_to_the_gateway_and_is_never_printed(run, nqn, tmp_path):
    secret = bytes(range(32))
    key = f"DHHC-1:01:{base64.b64encode(secret + zlib.crc32(secret).to_bytes(4, 'little')).decode()}:"
    file = tmp_path / "key"
    file.write_text(key + "\n")

    def used():
        return re.search(rf"{HOST} +(yes|no)", run("host", "list", "-n", nqn)[1])[1]

    for command, uses in ((("add", "-t", HOST, "--dhchap-key", str(file)), "yes"),
                          (("change_key", "-t", HOST, "--no-key"), "no"),
                          (("change_key", "-t", HOST, "-k", str(file)), "yes"),
                          (("change_key", "-t", HOST, "-k", str(file)), "yes")):
        code, out, err = run("host", command[0], "-n", nqn, *command[1:])
        assert (code, err) == (0, "") and used() == uses and key not in out, command
    file.write_text("DHHC-1:01:nonsense:")
    code, out, err = run("host", "change_key", "-n", nqn, "-t", HOST, "-k", str(file))
    assert (code, out, used()) == (1, "", "yes") and "failed" in err and "nonsense" not in err


def test_every_command_says_what_it_did_or_why_not(run, nqn):
    """Never a traceback, and never nothing: with a subsystem that has nothing, and with one that is not there."""
    for name in (nqn, "nqn.2016-06.io.spdk:none"):
        for words in commands_with_values(name):
            code, out, err = run(*words)
            assert code in (0, 1) and (out if code == 0 else err.startswith("nvmeof-gw: ")), (words, code, out, err)
            assert "Traceback" not in err, err


def commands_with_values(nqn):
    """Every command of a gateway's API, with a value for whatever it requires."""
    values = {"subsystem": nqn, "nsid": "9", "host_nqn": HOST, "traddr": "127.0.0.2", "rbd_image": "no-such-image",
              "size": "16M", "load_balancing_group": "1", "auto_visible": "yes", "rbd_trash_image_on_delete": "no",
              "level": "info", "action": "pause"}
    for path, command in leaves(cli):
        if path[0] not in ("top", "completion", "version"):
            words = list(path)
            for parameter in command.params:
                if parameter.required:
                    words += [*parameter.opts[-1:] * isinstance(parameter, click.Option), values[parameter.name]]
            yield words + {"set_qos": ["--rw-ios-per-second", "1000"], "change_key": ["--no-key"]}.get(path[-1], [])


def leaves(command, path=()):
    """All commands below this one: (words, command)."""
    for name, below in command.commands.items():
        if isinstance(below, click.Group):
            yield from leaves(below, (*path, name))
        else:
            yield (*path, name), below


ONE = Instance("gw1", 1, "aa")
GATEWAY = Gateway("gw1", 1, availability=Availability.AVAILABLE, instance=ONE, last_number=1)
GROUP_MAP = Map("rbd", "cli", Version(3, 20), (GATEWAY,),
                (AnaGroup(1, "gw1", Phase.ACTIVE, ONE, writers=frozenset({ONE})), AnaGroup(2, "gw2")))


@pytest.fixture
def knowing(gateway):
    """The gateway has read a map, in which it is optimized for ANA group 1."""
    gateway.knows = Known(View(GROUP_MAP, (GROUP_MAP,), GROUP_MAP.version), 0.1, {1: "optimized", 2: "inaccessible"})
    yield gateway
    gateway.knows = Known()


def test_the_status_of_the_group_is_told_also_while_the_gateway_does_not_serve(knowing, run):
    assert "map 3.20" in run("status")[1] and "nowhere (unserved)" in run("status")[1]
    told = json.loads(run("--format", "json", "status")[1])
    assert [group["phase"] for group in told["ana_groups"]] == ["ACTIVE", "UNSERVED"] and told["map_age_s"] == 0.1
    knowing.not_ready, knowing.knows = "no map was read yet", Known()
    try:
        code, out, err = run("status")
    finally:
        knowing.not_ready = None
    assert (code, err) == (0, "") and "gw1 does not serve: no map was read yet" in out


def test_lists_show_where_ana_groups_are_optimized_if_the_gateway_knows(knowing, run, nqn):
    run("ns", "add", "-n", nqn, "-i", f"known-{uuid.uuid4()}", "-c", "--size", "4M", "-l", "1", "--no-auto-visible")
    out = run("ns", "list", "-n", nqn)[1]
    assert re.search(r"Optimized at", out) and re.search(r"4 MiB +512 +1 +gw1 ", out), out
    knowing.knows = Known()
    assert "Optimized at" not in run("ns", "list", "-n", nqn)[1]


@pytest.fixture
def busy(knowing, run, nqn):
    """A host that can write to a namespace of that gateway."""
    port, = free_ports(1, "127.0.0.2")
    image = f"busy-{port}"
    assert run("ns", "add", "-n", nqn, "-i", image, "-c", "--size", "4M", "-l", "1")[0] == 0
    assert run("host", "add", "-n", nqn, "-t", HOST)[0] == run("listener", "add", "-n", nqn, "-a", "127.0.0.2", "-s",
                                                               str(port))[0] == 0
    address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.2", "trsvcid": str(port)}
    knowing.run(knowing.rpc.call("nvmf_subsystem_listener_set_ana_state", {
        "nqn": nqn, "listen_address": address, "ana_state": "optimized", "anagrpid": 1}))
    with Host(port, nqn, hostnqn=HOST, address="127.0.0.2") as host:
        yield host, image


def writes(host, until):
    while not until.is_set():
        assert host.write(1, 0, bytes(4096)).status == 0
        until.wait(0.005)


def test_top_shows_the_io_of_a_host(busy, run, nqn):
    host, image = busy
    done = threading.Event()
    writer = threading.Thread(target=writes, args=(host, done))
    writer.start()
    try:
        code, out, err = run("--format", "json", "top", "--interval", "0.5", "--count", "1", "-n", nqn)
    finally:
        done.set()
        writer.join()
    shown = json.loads(out)
    namespace, = shown["namespaces"]
    assert (code, err, shown["problems"]) == (0, "", []) and namespace["image"] == f"rbd/{image}"
    assert namespace["optimized_at"] == "gw1" and namespace["writes"] > 0 and namespace["write_latency_s"] > 0
    assert namespace["written_bytes"] == pytest.approx(4096 * namespace["writes"], rel=0.01)


def test_top_goes_on_when_one_of_several_gateways_does_not_answer_and_ends_when_none_does(knowing, run, capsys):
    port, = free_ports(1)
    code, out, _ = run("top", "--interval", "0.2", "--count", "2", "--also", f"127.0.0.1:{port}")
    assert code == 0 and out.count(f"the gateway at 127.0.0.1:{port} did not answer") == 2
    assert main(["--server-address", f"127.0.0.1:{port}", "top", "--count", "1"]) == 1
    assert "did not answer io_counters" in capsys.readouterr().err


def test_top_renews_a_terminal_in_place_until_ctrl_c_ends_it(knowing):
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gw_agent.client", "--server-address", knowing.address.split(":")[0], "--server-port",
         knowing.address.split(":")[1], "top", "--interval", "0.2"], stdout=its, stderr=its, stdin=its,
        env={**os.environ, "TERM": "xterm"}, cwd=REPOSITORY)
    os.close(its)
    shown = b""
    try:
        while shown.count(b"\x1b[H") < 3:
            assert select.select([ours], [], [], 60)[0], shown
            shown += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Ctrl-C ends" in shown and b"Traceback" not in shown and shown.count(b"\x1b[2J") == 1


def test_the_unix_socket_of_a_gateway_is_an_address(gateway, capsys):
    path = f"{gateway.settings.gateway.run_dir}/{API_SOCKET}"
    assert main(["--server-address", f"unix:{path}", "gw", "info"]) == 0 and "gw1" in capsys.readouterr().out
    assert main(["--server-address", f"unix:{path}.none", "gw", "info"]) == 1
    assert f"the gateway at unix:{path}.none did not answer get_gateway_info" in capsys.readouterr().err


def test_address_and_port_are_taken_from_the_environment(gateway, capsys, monkeypatch):
    address, port = gateway.address.split(":")
    monkeypatch.setenv("CEPH_NVMEOF_SERVER_ADDRESS", address)
    monkeypatch.setenv("CEPH_NVMEOF_SERVER_PORT", port)
    assert main(["gw", "info"]) == 0 and "gw1" in capsys.readouterr().out


def test_a_gateway_that_cannot_be_reached_is_exit_code_one_with_its_address(capsys):
    port, = free_ports(1)
    assert main(["--server-address", "127.0.0.1", "--server-port", str(port), "gw", "info"]) == 1
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port} did not answer get_gateway_info: UNAVAILABLE" in said and "--server-address" in said


def test_a_gateway_that_does_not_serve_says_why(gateway, run):
    gateway.not_ready = "its target is on holiday"
    try:
        code, out, err = run("subsystem", "list")
    finally:
        gateway.not_ready = None
    assert (code, out) == (1, "") and "does not serve yet: its target is on holiday" in err


@pytest.mark.parametrize("argv", [
    ["subsystem", "add"], ["ns", "add", "-n", "n", "-i", "i", "--size", "big"], ["nosuch"], ["ns", "nosuch"],
    ["ns", "del", "-n", "n", "--nsid", "-1"], ["ns", "del", "-n", "n", "--nsid", "x"],
    ["ns", "resize", "-n", "n", "--nsid", "1", "--size", "1000B"], ["ns", "set_qos", "-n", "n", "--nsid", "1"],
    ["ns", "change_visibility", "-n", "n", "--nsid", "1", "--auto-visible", "maybe"],
    ["ns", "change_load_balancing_group", "-n", "n", "--nsid", "1", "-l", "0"],
    ["host", "change_key", "-n", "n", "-t", "h"], ["host", "add", "-n", "n"], ["gw", "set_log_level", "-l", "loud"],
    ["listener", "add", "-n", "n", "-a", "a", "-s", "70000"], ["--format", "xml", "gw", "info"],
    ["--server-port", "0", "gw", "info"], ["--server-address", "unix:", "gw", "info"],
    ["--client-key", "/dev/null", "gw", "info"], ["spdk_log_level", "set", "-l", "loud"],
    ["top", "--interval", "0"], ["top", "--count", "0"], ["top", "--sort", "luck"], ["completion", "csh"]])
def test_wrong_arguments_are_exit_code_two_with_the_usage(argv):
    ended = CliRunner().invoke(cli, argv)
    assert ended.exit_code == 2 and "Usage: " in ended.output and "Error: " in ended.output


def test_help_at_each_level_has_examples_that_can_be_parsed():
    for path, command in [((), cli), *(((name,), below) for name, below in cli.commands.items()), *leaves(cli)]:
        shown = CliRunner().invoke(cli, [*path, "--help"])
        assert shown.exit_code == 0 and re.search("Examples?:", shown.output), path
        for line in (line for line in shown.output.splitlines() if line.strip().startswith("nvmeof-gw ")):
            words = [word.strip("'") for word in line.split("#")[0].split(">")[0].split()[1:]]
            while words and words[0].startswith("--"):
                words = words[2:]
            found = cli.resolve_command(click.Context(cli), words)[1]
            while isinstance(found, click.Group):
                words = words[1:]
                found = found.resolve_command(click.Context(found), words)[1]
            options = {name for parameter in found.params for name in parameter.opts}
            assert all(word in options for word in words if word.startswith("-") and word != "-"), line


def test_the_version_is_told():
    assert re.fullmatch(r"nvmeof-gw \S.*\n", CliRunner().invoke(cli, ["--version"], prog_name="nvmeof-gw").output)
    assert json.loads(CliRunner().invoke(cli, ["--format", "json", "version"]).output)["version"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_and_completes(shell):
    script = CliRunner().invoke(cli, ["completion", shell]).output
    assert "_NVMEOF_GW_COMPLETE" in script
    completed = CliRunner().invoke(cli, [], prog_name="nvmeof-gw", complete_var="_NVMEOF_GW_COMPLETE", env={
        "_NVMEOF_GW_COMPLETE": f"{shell}_complete", "COMP_WORDS": "nvmeof-gw ns change_",
        "COMP_CWORD": "change_" if shell == "fish" else "2"}).output
    assert "change_visibility" in completed and "change_load_balancing_group" in completed


@pytest.mark.parametrize("text, size", [("1", 1 << 20), ("512MB", 512 << 20), ("10G", 10 << 30), ("20 MiB", 20 << 20),
                                        ("4k", 4096), ("1TB", 1 << 40), ("512B", 512), ("2P", 2 << 50)])
def test_sizes_are_read_in_powers_of_1024_and_in_mib_without_a_unit(text, size):
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "10X", "G", "1 0M", "0x10", "１０G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(click.BadParameter):
        Size().convert(text, None, None)


def test_a_namespace_is_resized_by_whole_mebibytes():
    assert MebibyteSize().convert("1G", None, None) == 1024
    with pytest.raises(click.BadParameter):
        MebibyteSize().convert("1025K", None, None)


def test_keys_come_from_a_file_or_standard_input_and_never_from_the_command_line(tmp_path):
    key = "DHHC-1:00:aGVyZSBpcyBhIGtleSB0aGF0IGlzIG5vIGtleSBhdCBhbGw=:"
    file = tmp_path / "key"
    file.write_text(key + "\n")
    assert KeySource().convert(str(file), None, None) == key
    taken = CliRunner().invoke(click.Command("take", params=[click.Option(["-k"], type=KeySource())],
                                             callback=lambda k: click.echo(f"<{k}>")), ["-k", "-"], input=key + "\n")
    assert taken.output == f"<{key}>\n"
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two").write_text(f"{key}\n{key}\n")
    for wrong in (key, str(tmp_path / "none"), str(tmp_path / "empty"), str(tmp_path / "two"), str(tmp_path)):
        with pytest.raises(click.BadParameter) as refused:
            KeySource().convert(wrong, None, None)
        assert (key not in str(refused.value)), "the key is not repeated"
