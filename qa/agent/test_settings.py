"""Claims about reading a gateway host's settings file."""
from __future__ import annotations

import pytest

from gw_agent import settings

LEAST = """
[gateway]
name = gw1
group = g1
addr = 127.0.0.2
[ceph]
pool = rbd
[spdk]
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "gw.conf"
        path.write_text(text)
        return settings.load(str(path))
    return load_text


def test_defaults_follow_the_gateways_name_and_pool(load):
    found = load(LEAST)
    assert found.gateway.port == 5500
    assert found.gateway.host_name == "gw1"
    assert found.gateway.run_dir == "/run/nvmeof-ha/gw1"
    assert found.gateway.log_file is None
    assert found.ceph.control_pool == "rbd"
    assert found.ceph.id == "nvmeof.gw1"
    assert found.spdk.rpc_socket == "/run/nvmeof-ha/gw1/spdk.sock"
    assert "--interrupt-mode" in found.spdk.tgt_cmd_extra_args
    assert found.spdk.transport_tcp_options == {}
    assert found.gateway.stuck_s == 5


def test_given_values_win_over_defaults_and_comments_are_ignored(load):
    found = load(LEAST.replace("[ceph]", "port = 0 ; any\nhost_name = host-a\nrun_dir = /tmp/r\n[ceph]")
                 + 'rpc_socket = /tmp/x.sock\ntransport_tcp_options = {"in_capsule_data_size": 8192}\n')
    assert found.gateway.port == 0
    assert found.gateway.host_name == "host-a"
    assert found.spdk.rpc_socket == "/tmp/x.sock"
    assert found.spdk.transport_tcp_options["in_capsule_data_size"] == 8192


def test_settings_cannot_be_changed(load):
    found = load(LEAST)
    with pytest.raises(AttributeError):
        found.gateway.port = 1
    with pytest.raises(TypeError):
        found.spdk.transport_tcp_options["x"] = 1


def test_an_address_is_stored_in_its_shortest_form_without_brackets(load):
    assert load(LEAST.replace("127.0.0.2", "[0:0::1]")).gateway.addr == "::1"


@pytest.mark.parametrize("old, new, section, option, allowed", [
    ("name = gw1\n", "", "gateway", "name", "add the line"),
    ("name = gw1", "name =", "gateway", "name", "1 to 128 characters"),
    ("name = gw1", "name = g w", "gateway", "name", "letters, digits"),
    ("name = gw1", "name = " + "g" * 129, "gateway", "name", "1 to 128 characters"),
    ("group = g1", "group =", "gateway", "group", "1 to 128 characters"),
    ("group = g1", "group = a%b", "gateway", "group", "letters, digits"),
    ("pool = rbd", "pool = a/b", "ceph", "pool", "without spaces and slashes"),
    ("name = gw1", "name = gw_1", "gateway", "host_name", "underscores"),
    ("addr = 127.0.0.2", "addr = gwhost", "gateway", "addr", "IPv4 or IPv6"),
    ("[ceph]", "port = x\n[ceph]", "gateway", "port", "0 to 65535"),
    ("[ceph]", "port = 70000\n[ceph]", "gateway", "port", "0 to 65535"),
    ("[ceph]", "log_level = loud\n[ceph]", "gateway", "log_level", "DEBUG"),
    ("[ceph]", "run_dir = run\n[ceph]", "gateway", "run_dir", "absolute path"),
    ("[ceph]", "bdevs_per_context = 0\n[ceph]", "gateway", "bdevs_per_context", "1 to"),
    ("[ceph]", "run_dir = /" + "r" * 99 + "\n[ceph]", "gateway", "run_dir", "at most 98 bytes"),
    ("[ceph]", "enable_auth = maybe\n[ceph]", "gateway", "enable_auth", "true or false"),
    ("[ceph]", "stuck_s = 4\n[ceph]", "gateway", "stuck_s", "5.0 to 300"),
    ("[ceph]", "state_update_interval_sec = nan\n[ceph]", "gateway", "state_update_interval_sec", "0.1 to"),
    ("[ceph]", "[ceph]\nid = client.x", "ceph", "id", "without 'client.'"),
    ("[spdk]", "[spdk]\ntransport_tcp_options = [1]", "spdk", "transport_tcp_options", "JSON object"),
    ("[spdk]", "[spdk]\ntgt_cmd_extra_args = 'x", "spdk", "tgt_cmd_extra_args", "as a shell"),
    ("[spdk]", "[spdk]\nrpc_socket = /" + "x" * 120, "spdk", "rpc_socket", "at most 107 bytes"),
    ("[spdk]", "[spdk]\ncolour = red", "spdk", "colour", "allowed are tgt_path"),
    ("pool = rbd\n", "", "ceph", "pool", "add the line"),
])
def test_a_bad_value_is_named_with_section_option_and_what_is_allowed(load, old, new, section, option, allowed):
    with pytest.raises(settings.SettingsError) as failure:
        load(LEAST.replace(old, new))
    text = str(failure.value)
    assert "gw.conf" in text and f"[{section}]" in text and option in text and allowed in text


@pytest.mark.parametrize("addr", ["127.0.0.1", "127.9.9.9", "::1"])
def test_a_loopback_address_needs_no_certificates(load, addr):
    assert not load(LEAST.replace("127.0.0.2", addr)).gateway.enable_auth


@pytest.mark.parametrize("addr", ["10.0.0.1", "0.0.0.0", "::", "fd00::1"])
def test_an_address_that_others_reach_needs_certificates_or_an_explicit_decision(load, addr):
    elsewhere = LEAST.replace("127.0.0.2", addr)
    with pytest.raises(settings.SettingsError, match="enable_auth = true, and server_key, server_cert and client_cert"):
        load(elsewhere)
    assert load(elsewhere.replace("[ceph]", "insecure_api = true\n[ceph]")).gateway.insecure_api
    found = load(elsewhere.replace("[ceph]", "enable_auth = True\n[ceph]")
                 + "[mtls]\nserver_key = /a\nserver_cert = /b\nclient_cert = /c\nclient_key = /d\n")
    assert found.mtls.client_cert == "/c"


def test_authentication_without_its_files_or_beside_its_opposite_is_refused(load):
    with_auth = LEAST.replace("[ceph]", "enable_auth = true\n[ceph]")
    with pytest.raises(settings.SettingsError, match=r"section \[mtls\] lacks server_cert, client_cert"):
        load(with_auth + "[mtls]\nserver_key = /a\n")
    with pytest.raises(settings.SettingsError, match="both on"):
        load(with_auth.replace("enable_auth", "insecure_api = true\nenable_auth")
             + "[mtls]\nserver_key = /a\nserver_cert = /b\nclient_cert = /c\n")


def test_an_unknown_section_is_refused_with_the_known_ones(load):
    with pytest.raises(settings.SettingsError, match=r"\[gatway\].*\[gateway\], \[ceph\], \[spdk\]"):
        load(LEAST + "[gatway]\nname = x\n")


@pytest.mark.parametrize("text", ["name = 1\n", "[gateway\n", "[gateway]\nname = a\nname = b\n", "[gateway]\nwhat\n"])
def test_a_file_that_is_not_ini_is_refused(load, text):
    with pytest.raises(settings.SettingsError, match="gw.conf: is not an INI file"):
        load(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(settings.SettingsError, match="nothing.conf: cannot be read: No such file"):
        settings.load(str(tmp_path / "nothing.conf"))
