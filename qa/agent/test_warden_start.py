"""Claims about a warden that cannot work, or not yet: it says what it found and what to do, and harms nothing."""
from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Iterator

import pytest

from gateway_host import GatewayHost
from testbed.ports import free_ports

OTHER_KEY = "[client.nvmeof.gw1]\n\tkey = AQBSdFhcAAAAABAAaaaaaaaaaaaaaaaaaaaaaa==\n"


@pytest.fixture
def hosts(cluster: Any, nvmf_tgt: Path, tmp_path: Path) -> Iterator[Any]:
    made = []

    def make(**changed: Any) -> GatewayHost:
        made.append(GatewayHost(tmp_path, cluster, nvmf_tgt, group="nogroup", **changed))
        return made[-1]
    try:
        yield make
    finally:
        for host in made:
            host.stop()


def test_an_unreachable_mon_is_asked_again_until_it_answers_or_the_warden_is_stopped(
        hosts: Any, tmp_path: Path) -> None:
    conf = tmp_path / "nowhere.conf"
    conf.write_text(f"[global]\nmon_host = 127.0.0.1:{free_ports(1, '127.0.0.1')[0]}\n")
    host = hosts(conf=str(conf))
    host.start()
    host.wait_logged(f"the mons named in {conf} did not answer")
    host.wait_logged("Trying again")
    host.kill("warden", signal.SIGTERM)
    assert host.exit_status() == 0


def test_a_wrong_key_is_named_with_the_command_that_makes_the_right_one(hosts: Any, tmp_path: Path) -> None:
    keyring = tmp_path / "wrong.keyring"
    keyring.write_text(OTHER_KEY)
    host = hosts(keyring=keyring)
    host.start()
    assert host.exit_status() == 1
    assert "refuse client.nvmeof.gw1" in host.log()
    assert "mon 'profile rbd' osd 'profile rbd pool=rbd'" in host.log()


def test_a_missing_keyring_is_named(hosts: Any, tmp_path: Path) -> None:
    host = hosts(keyring=tmp_path / "no.keyring")
    host.start()
    assert host.exit_status() == 1
    assert f"there is no keyring {tmp_path}/no.keyring" in host.log()


def test_a_wrong_pool_is_named_with_the_option(hosts: Any) -> None:
    host = hosts(pool="nopool")
    host.start()
    assert host.exit_status() == 1
    assert "there is no pool 'nopool'" in host.log() and "option pool in section [ceph]" in host.log()


def test_a_group_without_a_map_is_waited_for(hosts: Any) -> None:
    host = hosts()
    host.start()
    host.wait_logged("nvmeof_ha.nogroup.index cannot be read (ENOENT)")
    assert "target" not in host.pids()


def test_a_missing_settings_file_is_a_wrong_command_line(hosts: Any) -> None:
    host = hosts()
    host.settings.unlink()
    host.start()
    assert host.exit_status() == 2
    assert "name the gateway's settings file" in host.log()
