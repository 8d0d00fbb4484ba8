"""Claims about --check-config, --print-config and the sample configuration."""
from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import rados
from authority import Authority
from cryptography import x509

from gw_agent import ceph_client, certificate_checks, cluster_checks, config_check, host_checks, settings
from gw_agent.command_line import SAMPLE

ADDR = "127.0.0.2"
KEYRING = "[client.nvmeof.gw1]\n\tkey = AQBSdFhcAAAAABAAaaaaaaaaaaaaaaaaaaaaaa==\n"
PROGRAMS = ("gw_agent.warden", "gw_agent.agent")
SET_BY_PEOPLE = {("gateway", "name"), ("gateway", "group"), ("gateway", "addr"), ("ceph", "pool")}


class Host:
    """Files that a gateway's settings name, all of them well."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.path = directory, directory / "gateway.conf"
        (directory / "ceph.conf").write_text("[global]\nmon_host = 127.0.0.1\n")
        self.file("keyring", KEYRING, 0o600)
        self.file("nvmf_tgt", "#!/bin/sh\n", 0o755)
        self.values: Dict[str, Dict[str, str]] = {
            "gateway": {"name": "gw1", "group": "g1", "addr": ADDR, "port": "0", "run_dir": f"{directory}/run"},
            "ceph": {"pool": "rbd", "config_file": f"{directory}/ceph.conf", "keyring": f"{directory}/keyring"},
            "spdk": {"tgt_path": f"{directory}/nvmf_tgt"}, "mtls": {}, "discovery": {}}

    def file(self, name: str, text: str, mode: int) -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def problems(self, connect: bool = False, **changed: str) -> List[settings.Problem]:
        """`changed`: section__option = value."""
        values = {section: dict(options) for section, options in self.values.items()}
        for name, value in changed.items():
            section, _, option = name.partition("__")
            values[section][option] = value.format(d=self.directory)
        self.path.write_text("".join(f"[{section}]\n" + "".join(f"{o} = {v}\n" for o, v in options.items())
                                     for section, options in values.items()))
        return config_check.check(str(self.path), connect).problems


@pytest.fixture
def here(tmp_path: Path) -> Host:
    return Host(tmp_path)


def only(problems: List[settings.Problem]) -> settings.Problem:
    assert len(problems) == 1, problems
    return problems[0]


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60, check=False)


# -- the sample -------------------------------------------------------------------------------------------------


def test_the_sample_can_be_used_as_it_is_and_explains_every_option_with_its_default(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    assert not settings.examine(str(SAMPLE)).problems
    everything = tmp_path / "everything.conf"
    everything.write_text(re.sub(r"(?m)^#(?=\w+ =)", "", text))
    assert settings.load(str(everything)) == settings.load(str(SAMPLE)), "a value in the sample is not the default"
    named = {place for place in settings.examine(str(everything)).lines if place[1]}
    assert named == {(section, option) for section, options in settings.OPTIONS.items() for option in options}
    set_here = {place for place in settings.examine(str(SAMPLE)).lines if place[1]}
    assert set_here == SET_BY_PEOPLE == {(s, o) for s, options in settings.OPTIONS.items()
                                         for o, option in options.items() if option.default is None}
    for paragraph in re.split(r"\n\s*\n", text):
        assert "\n# " in f"\n{paragraph}" or "=" not in paragraph, f"nothing explains: {paragraph}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_either_program_prints_the_sample_and_says_which_options_go_together(program: str) -> None:
    assert run(program, "--print-config").stdout == SAMPLE.read_text()
    assert "go with --check-config" in run(program, "--connect").stderr


# -- the file ---------------------------------------------------------------------------------------------------


def test_every_problem_of_a_file_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.conf"
    path.write_text("[gateway]\nname = gw1 ; us\n\naddr = 10.9.9.9\nprot = 1\nlog_level = loud\ntgt_path = /x\n"
                    "[ceph]  ; see [spdk]\npool = a/b\n[DEFAULT]\nx = 1\n[gatway]\n")
    found = {(p.section, p.option): p for p in settings.examine(str(path)).problems}
    assert {place: p.line for place, p in found.items()} == {
        ("gateway", "group"): 1, ("gateway", "addr"): 4, ("gateway", "prot"): 5, ("gateway", "log_level"): 6,
        ("gateway", "tgt_path"): 7, ("ceph", "pool"): 9, ("DEFAULT", ""): 10, ("gatway", ""): 12}
    assert found["gateway", "prot"].expected == "did you mean port?"
    assert "belongs into section [spdk]" in found["gateway", "tgt_path"].expected
    assert "did you mean gateway?" in found["gatway", ""].expected
    with pytest.raises(settings.SettingsError) as failure:
        settings.load(str(path))
    assert len(str(failure.value).splitlines()) == len(found)


def test_the_exit_status_says_whether_a_gateway_could_work_and_json_says_why(here: Host) -> None:
    warden, agent = PROGRAMS
    assert here.problems() == []
    well = run(warden, "--check-config", "--config", str(here.path))
    assert (well.returncode, well.stderr) == (0, "") and "no problems; the cluster was not asked" in well.stdout
    assert here.problems(gateway__colour="red", gateway__port="70000")
    plain = run(warden, "--check-config", "--config", str(here.path))
    assert plain.returncode == 1 and f"{here.path}:5: option port" in plain.stdout and "2 problems" in plain.stdout
    told = run(agent, "--check-config", "--config", str(here.path), "--format", "json")
    said = json.loads(told.stdout)
    assert told.returncode == 1 and not said["ok"] and not said["connected"] and said["file"] == str(here.path)
    assert said["problems"][0] == {
        "severity": "error", "line": 5, "section": "gateway", "option": "port",
        "found": "option port in section [gateway] is '70000'", "expected": "allowed is a number from 0 to 65535"}


def test_a_file_that_cannot_be_read_is_the_only_problem(tmp_path: Path) -> None:
    assert "No such file" in only(config_check.check(str(tmp_path / "none"), True).problems).found


# -- the host ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place, value, found, expected", [
    ("gateway__addr", "192.0.2.1", "no address of this host", "ip -brief address"),
    ("gateway__encryption_key", "{d}/none", "cannot be read", "openssl rand"),
    ("gateway__encryption_key", "{d}/keyring", "is not base64", "openssl rand"),
    ("gateway__run_dir", "{d}/keyring", "is no directory", "remove it"),
    ("gateway__run_dir", "{d}/open", "written by every user", "chmod o-w"),
    ("gateway__log_file", "{d}/no/such.log", "there is no directory", "mkdir -p"),
    ("gateway__trace_file", "{d}", "no file that this user may write", "correct the path"),
    ("ceph__config_file", "{d}/none", "cannot be read: No such file", "ceph.conf there"),
    ("ceph__keyring", "{d}/none", "cannot be read: No such file", "ceph auth get-or-create client.nvmeof.gw1 mon"),
    ("ceph__keyring", "{d}/open_key", "every user of this host", "chmod o="),
    ("ceph__id", "nvmeof.gw2", "has no key of client.nvmeof.gw2; it has those of: client.nvmeof.gw1", "option id"),
    ("ceph__keyring", "", "none of /etc/ceph/ceph.client.nvmeof.gw1.keyring", "or set keyring"),
    ("spdk__tgt_path", "{d}/none", "no target program", "install SPDK"),
    ("spdk__tgt_path", "{d}/keyring", "no program that this user may run", "chmod +x"),
    ("spdk__rpc_socket", "{d}/no/spdk.sock", "no directory", "correct the path"),
    ("spdk__tgt_cmd_extra_args", "--no-huge -r /x", "names the JSON-RPC socket", "set rpc_socket"),
    ("spdk__tgt_cmd_extra_args", "--no-huge -m 0x" + "1" + "0" * 64, "cores that this host does not have: 256", "mask"),
    ("mtls__client_key", "{d}/open_key", "private key that every user", "chmod o="),
])
def test_what_the_host_lacks_is_named_with_its_option_and_what_to_do(here: Host, place: str, value: str, found: str,
                                                                     expected: str) -> None:
    here.file("open_key", KEYRING, 0o644)
    (here.directory / "open").mkdir()
    (here.directory / "open").chmod(0o777)
    problem = next(p for p in here.problems(**{place: value}) if not p.warning and found in p.text(""))
    assert problem.section == place.split("__")[0] and problem.line is not None
    assert expected in problem.expected
    if (problem.section, problem.option) == tuple(place.split("__")):
        assert place.split("__")[1] in here.path.read_text().splitlines()[problem.line - 1]


def test_a_key_where_ceph_looks_by_itself_is_found(here: Host) -> None:
    (here.directory / "ceph.conf").write_text(f"[global]\nmon_host = 127.0.0.1\nkeyring = {here.directory}/keyring\n")
    assert here.problems(ceph__keyring="") == []


def test_hugepages_are_needed_unless_the_target_does_without(here: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for pages, problems in ((0, 1), (512, 0)):
        monkeypatch.setattr(host_checks, "MEMINFO", here.file("meminfo", f"HugePages_Total: {pages}\n", 0o600))
        assert len(here.problems(spdk__tgt_cmd_extra_args="-m 0x1")) == problems


def test_a_port_in_use_is_a_problem_unless_this_gateway_uses_it(here: Host) -> None:
    with socket.socket() as taken:
        taken.bind((ADDR, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "in use by another program" in only(here.problems(gateway__port=port)).found
        (here.directory / "run").mkdir(mode=0o700)
        program = "import sys; print(flush=True); sys.stdin.read()"
        runs = subprocess.Popen([sys.executable, "-c", program, "warden"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        try:
            assert runs.stdout is not None and runs.stdout.readline()   # its arguments can be read from now on
            here.file("run/warden.lock", f"{runs.pid}\n", 0o600)
            assert here.problems(gateway__port=port) == []
        finally:
            runs.communicate()


def test_ports_that_collide_at_a_listeners_address_are_warned_of(here: Host) -> None:
    assert only(here.problems(gateway__port="8009")).warning


# -- certificates -----------------------------------------------------------------------------------------------


@pytest.fixture
def secured(here: Host) -> Host:
    authority = Authority(here.directory)
    key, certificate = authority.issue("server", ADDR)
    here.values["gateway"]["enable_auth"] = "true"
    here.values["mtls"] = {"server_key": str(key), "server_cert": str(certificate),
                           "client_cert": str(authority.certificate_path)}
    return here


def test_certificates_that_serve_are_no_problem_but_those_that_end_soon_are_warned_of(secured: Host) -> None:
    found = secured.problems()   # they last a day
    assert {p.option for p in found} == {"server_cert", "client_cert"} and all(p.warning for p in found)
    assert all("expires at" in p.found for p in found)


@pytest.mark.parametrize("after_days, said", [(2, "expired at"), (-2, "is not valid before")])
def test_certificates_out_of_their_time_are_problems(secured: Host, monkeypatch: pytest.MonkeyPatch, after_days: int,
                                                     said: str) -> None:
    real = certificate_checks._date

    def shifted(certificate: x509.Certificate, name: str) -> Any:
        return real(certificate, name) - after_days * certificate_checks.SOON / 30
    monkeypatch.setattr(certificate_checks, "_date", shifted)
    found = secured.problems()
    assert len(found) == 2 and all(said in p.found and not p.warning for p in found)


def test_a_certificate_for_another_address_is_warned_of(secured: Host) -> None:
    assert any("not for addr 127.0.0.3 but for: 127.0.0.2" in p.found
               for p in secured.problems(gateway__addr="127.0.0.3"))


@pytest.mark.parametrize("option, value, said", [
    ("server_key", "{d}/nothing", "cannot be read"), ("server_cert", "{d}/other.crt", "and its private key"),
    ("client_cert", "{d}/nvmf_tgt", "no certificates in PEM")])
def test_certificates_that_do_not_fit_are_named_with_their_option(secured: Host, option: str, value: str,
                                                                  said: str) -> None:
    secured.file("other.crt", (secured.directory / "authority.crt").read_text(), 0o644)
    problem = only(secured.problems(**{f"mtls__{option}": value}))
    assert problem.option == option and said in problem.found


def test_an_open_api_and_unused_certificates_are_warned_of(secured: Host) -> None:
    found = secured.problems(gateway__enable_auth="false", gateway__insecure_api="true")
    assert {p.option for p in found if p.warning} == {"insecure_api", "server_cert"} and len(found) == 2


# -- the cluster ------------------------------------------------------------------------------------------------


@pytest.fixture
def known(here: Host, mgr: Any, cluster: Any) -> Host:
    """Gateway gw1 is in the map of a group of its own, and its user has what it needs."""
    mgr.make("gw1")
    caps = {service: cap.format(pool="rbd") for service, cap in ceph_client.CAPS.items()}
    here.values["ceph"].update(config_file=str(cluster.conf), keyring=str(cluster.create_user("nvmeof.gw1", caps)))
    here.values["gateway"]["group"] = mgr.seats.group
    return here


def test_a_gateway_that_the_cluster_knows_has_no_problem(known: Host) -> None:
    assert known.problems(connect=True) == []


def test_what_the_map_says_of_the_gateway_is_told(known: Host, mgr: Any, cluster: Any) -> None:
    mgr.change("gw1", enabled=False)
    assert "is disabled" in only(known.problems(connect=True)).found
    other = {"gateway__name": "gw9", "ceph__id": "nvmeof.gw1"}
    problem = only(known.problems(connect=True, **other))
    assert "does not name gw9; it names: gw1" in problem.found
    assert f"ceph nvmeof-ha create gw9 rbd {mgr.seats.group}" in problem.expected
    problem = only(known.problems(connect=True, gateway__group="nosuch"))
    assert problem.option == "group" and "ceph nvmeof-ha create gw1 rbd nosuch" in problem.expected


def test_a_pool_that_is_absent_and_caps_that_do_not_suffice_are_named(known: Host, cluster: Any) -> None:
    problem = only(known.problems(connect=True, ceph__control_pool="nopool"))
    assert problem.option == "control_pool" and "there is no pool 'nopool'" in problem.found
    for name, osd, said in (("reader", "allow r pool=rbd", "may not write in pool rbd"),
                            ("tenant", "profile rbd pool=rbd namespace=n", "may not write in pool rbd")):
        keyring = cluster.create_user(f"config-check-{name}", {"mon": "profile rbd", "osd": osd})
        problem = only(known.problems(connect=True, ceph__id=f"config-check-{name}", ceph__keyring=str(keyring)))
        assert said in problem.found
        needed = f"ceph auth caps client.config-check-{name} mon 'profile rbd' osd 'profile rbd pool=rbd'"
        assert needed in problem.expected


def test_a_wrong_key_and_mons_that_do_not_answer_are_named(known: Host, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    problem = only(known.problems(connect=True, ceph__keyring=known.file("wrong", KEYRING, 0o600)))
    assert problem.option == "id" and "the mons refuse client.nvmeof.gw1" in problem.found

    def silent(*_arguments: Any) -> rados.Rados:
        raise ceph_client.CephUnreachable("the mons did not answer; are they up?")
    monkeypatch.setattr(cluster_checks.ceph_client, "connect", silent)
    assert only(known.problems(connect=True)).expected == "are they up?"


def test_options_that_the_cluster_is_asked_with_must_be_right_first(here: Host) -> None:
    assert "the cluster was not asked" in {p.found for p in here.problems(connect=True, ceph__pool="a/b")}


def test_checking_leaves_nothing_behind(known: Host) -> None:
    before = sorted(os.listdir(known.directory))
    known.problems(connect=True)
    assert set(os.listdir(known.directory)) - set(before) <= {"gateway.conf"}
