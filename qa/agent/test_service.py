"""Claims about nvmeof-ha-install, the service unit and the rotation of logs. No systemd runs here: what the unit would
have it run is run by hand."""
from __future__ import annotations

import configparser
import logging
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from gateway_host import NQN, GatewayHost, MgrInPlace
from gw_agent import leaving, process_log, settings, target_guard
from gw_agent.command_line import DEFAULT_CONFIG, SAMPLE
from gw_agent.install import gateway_host, mgr_module, sources
from gw_agent.install.main import main
from nvmeof_ha_core.model import Phase
from nvmeof_ha_core.timing import Timing

UNIT = gateway_host.UNIT_PLACE


def files(directory: Path) -> List[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir())


class Unit:
    """As it is installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parser = configparser.RawConfigParser(strict=True)
        parser.optionxform = str   # type: ignore[assignment]
        parser.read(path)
        self.service = dict(parser["Service"])
        self.unit = dict(parser["Unit"])

    def exec_start(self, instance: str) -> List[str]:
        return [word.replace("%i", instance) for word in shlex.split(self.service["ExecStart"])]


@pytest.fixture
def unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Unit:
    assert main(["gateway", "--root", str(tmp_path / "root")]) == 0
    capsys.readouterr()
    return Unit(tmp_path / "root" / UNIT)


# -- the mgr module -----------------------------------------------------------------------------------------------


def test_the_module_is_installed_whole_for_all_to_read_and_once_only(tmp_path: Path,
                                                                      capsys: pytest.CaptureFixture[str]) -> None:
    place, to = tmp_path / "nvmeof_ha", ["mgr-module", "--to", str(tmp_path)]
    assert main([*to, "--dry-run"]) == 0 and not place.exists()
    before = os.umask(0o077)
    try:
        assert main(to) == 0
    finally:
        os.umask(before)
    said = capsys.readouterr().out
    assert "systemctl restart ceph-mgr.target" in said and "ceph mgr module enable nvmeof_ha" in said
    assert mgr_module.contents(place) == mgr_module.contents(sources.mgr_module())
    assert (place / "core" / "machine.py").exists() and (place / "page" / "index.html").exists()
    for path in (place, *place.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path
    assert os.listdir(tmp_path) == ["nvmeof_ha"], "nothing stays aside"
    inode = place.stat().st_ino
    assert main(to) == 0 and "up to date" in capsys.readouterr().out and place.stat().st_ino == inode


def test_an_upgrade_replaces_the_module_and_a_removal_takes_it_away(tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    place, to = tmp_path / "nvmeof_ha", ["mgr-module", "--to", str(tmp_path)]
    main(to)
    (place / "gone_in_this_release.py").write_text("")
    (place / "module.py").write_text("old = True\n")
    (tmp_path / mgr_module.ASIDE / "new").mkdir(parents=True)   # an earlier one was interrupted
    assert main(to) == 0 and "replaced" in capsys.readouterr().out
    assert mgr_module.contents(place) == mgr_module.contents(sources.mgr_module())
    assert main([*to, "--remove", "--dry-run"]) == 0 and place.exists()
    assert main([*to, "--remove"]) == 0 and os.listdir(tmp_path) == []
    assert "ceph mgr module disable nvmeof_ha" in capsys.readouterr().out
    assert main([*to, "--remove"]) == 0 and "is not there" in capsys.readouterr().out


def test_what_is_not_ours_to_replace_is_left_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(directory: Path) -> str:
        assert main(["mgr-module", "--to", str(directory)]) == 1
        return capsys.readouterr().err
    assert "no directory" in refused(tmp_path / "none") and not (tmp_path / "none").exists()
    (tmp_path / "other" / "nvmeof_ha").mkdir(parents=True)
    assert "is no mgr module" in refused(tmp_path / "other")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "nvmeof_ha").symlink_to("/somewhere")
    assert "symbolic link to /somewhere" in refused(tmp_path / "link")
    monkeypatch.setattr(os, "access", lambda *_: False)   # root may write anywhere
    assert "run this as root, or name another directory with --to" in refused(tmp_path / "other")


def test_the_module_can_be_installed_by_the_systems_python_from_a_checkout(tmp_path: Path) -> None:
    checkout = sources.mgr_module().parents[1]
    done = subprocess.run(["/usr/bin/python3", "-m", "gw_agent.install", "mgr-module", "--to", str(tmp_path)], cwd=checkout,
                          env={"PATH": "/usr/bin:/bin"}, timeout=60, stdout=subprocess.PIPE, check=True)
    assert b"installed" in done.stdout and (tmp_path / "nvmeof_ha" / "module.py").exists()


# -- the gateway host ---------------------------------------------------------------------------------------------


def test_a_gateway_host_gets_unit_rotation_sample_and_links_and_keeps_what_was_edited(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["gateway", "--root", str(tmp_path)]
    assert main([*to, "--dry-run"]) == 0 and files(tmp_path) == []
    assert main(to) == 0
    assert "systemctl enable --now nvmeof-gw-warden@gateway" in capsys.readouterr().out
    links = [f"usr/local/bin/{name}" for name in gateway_host.PROGRAMS]
    assert files(tmp_path) == sorted([UNIT, gateway_host.LOGROTATE_PLACE, gateway_host.CONFIG_PLACE, *links])
    config = tmp_path / gateway_host.CONFIG_PLACE
    assert f"/{gateway_host.CONFIG_PLACE}" == DEFAULT_CONFIG and config.read_text() == SAMPLE.read_text()
    assert os.readlink(tmp_path / links[0]) == str(Path(sys.executable).parent / gateway_host.PROGRAMS[0])

    config.write_text("[gateway]\nname = mine\n")
    (tmp_path / UNIT).write_text("[Service]\nExecStart=/older\n")
    (tmp_path / links[0]).unlink()
    (tmp_path / links[0]).write_text("somebody else's")
    assert main(to) == 0
    said = capsys.readouterr().out
    assert "name = mine" in config.read_text() and f"kept: {config}" in said
    assert f"replaced: {tmp_path / UNIT}" in said and f"kept: {tmp_path / links[0]} (it is another program)" in said

    assert main([*to, "--remove"]) == 0
    assert files(tmp_path) == sorted([gateway_host.CONFIG_PLACE, links[0]])
    said = capsys.readouterr().out
    assert f"kept: {config} (it was changed)" in said and "systemctl disable --now" in said


def test_without_the_programs_beside_it_no_service_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    for python, said in (("bin/python3", "no nvmeof-gw-warden beside"),
                         ("a b/python3", "make the virtual environment")):
        monkeypatch.setattr(sys, "executable", str(tmp_path / python))
        if " " in python:
            (tmp_path / "a b").mkdir()
            (tmp_path / "a b" / "nvmeof-gw-warden").touch()
        assert main(["gateway", "--root", str(tmp_path / "root")]) == 1
        assert said in capsys.readouterr().err and not (tmp_path / "root").exists()


# -- the service --------------------------------------------------------------------------------------------------


def test_systemd_takes_the_unit_as_it_is(unit: Unit) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit.path)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    about_it = [line for line in done.stdout.splitlines() if "nvmeof" in line]
    assert done.returncode == 0 and not about_it, done.stdout


def test_the_unit_leaves_time_for_an_orderly_stop_and_sends_sigterm_to_the_warden_alone(unit: Unit) -> None:
    timing = Timing()
    hand_over_s = 2 * timing.drain_s + timing.promote_s
    longest_s = (hand_over_s + target_guard.STOP_S + target_guard.LINGER_S + leaving.TELL_S + leaving.AGENT_STOP_S)
    assert int(unit.service["TimeoutStopSec"]) >= 2 * longest_s
    assert unit.service["KillMode"] == "mixed"
    assert unit.service["Restart"] == "on-failure" and unit.service["RestartPreventExitStatus"] == "2"
    assert unit.unit["StartLimitIntervalSec"] == "0"
    assert settings.OPTIONS["gateway"]["run_dir"].default.startswith(f"/run/{unit.service['RuntimeDirectory']}/")
    assert unit.service["RuntimeDirectoryPreserve"] == "yes" and int(unit.service["UMask"], 8) == 0o077


def test_what_the_unit_starts_serves_and_hands_over_before_it_ends(unit: Unit, mgr: MgrInPlace, host: GatewayHost,
                                                                   listener: Any, tmp_path: Path) -> None:
    command = unit.exec_start(host.name)
    assert command[-2:] == ["--config", f"/etc/nvmeof-ha/{host.name}.conf"]
    mgr.make(host.name)
    mgr.configure({host.name: listener})
    with open(host.log_path, "ab") as log:   # the environment and directory that systemd gives
        host.warden = subprocess.Popen([*command[:-1], str(host.settings)], env={"PATH": "/usr/bin:/bin"}, cwd="/",
                                       umask=0o077, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    instance = mgr.admit(host.name)
    mgr.promote(1, instance)
    host.wait_ana(NQN, "optimized")
    others = [pid for name, pid in host.pids().items() if name != "warden"]
    assert len(others) == 2
    host.kill("warden", signal.SIGTERM)
    mgr.hear(host.name, lambda b: b.leaving, "leaving")
    mgr.change(host.name, leaving=True)
    since = mgr.phase(1, Phase.DRAINING, holder=instance, writers=frozenset({instance}))
    mgr.confirmed(instance, 1, since, "drained")
    mgr.phase(1, Phase.UNSERVED)
    assert host.exit_status(int(unit.service["TimeoutStopSec"])) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in others), "nothing is left for systemd to kill"


def test_a_log_goes_on_after_logrotate_has_emptied_it(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir(mode=0o700)
    path = tmp_path / "logs" / "gateway.log"
    config = tmp_path / "gateway.conf"
    config.write_text(f"[gateway]\nname = gw1\ngroup = g1\naddr = 127.0.0.1\nlog_file = {path}\n[ceph]\npool = rbd\n")
    rules = tmp_path / "rules"
    rules.write_text(sources.LOGROTATE.read_text().replace("/var/log/nvmeof-ha", str(path.parent)))
    rules.chmod(0o644)
    root = logging.getLogger()
    before = list(root.handlers), root.level
    root.handlers = []
    try:
        output = process_log.start(settings.load(str(config)).gateway, "warden")
        assert output is not None
        for word in ("earlier", "later"):
            logging.getLogger("warden").info("what was said %s", word)
            output.write(f"what the target printed {word}\n".encode())   # children inherit this file
            if word == "earlier":
                subprocess.run(["logrotate", "--force", "--state", str(tmp_path / "state"), str(rules)], timeout=60,
                               check=True)
        output.close()
        for handler in root.handlers:
            handler.close()
    finally:
        root.handlers, root.level = before
    assert "later" in path.read_text() and "earlier" not in path.read_text() and "\0" not in path.read_text()
    assert path.read_text().count("later") == 2
    assert (path.parent / "gateway.log.1").read_text().count("earlier") == 2
