"""Claims about keys of hosts: their form, how they are stored, what may be changed, and who may read them."""
from __future__ import annotations

import base64
import errno
import json
import zlib

import pytest

from gw_agent import changes, changes_keys, configuration, configuration_reader, key_formats
from gw_agent.changes import Refused
from gw_agent.config_store import Stored
from gw_agent.configuration import Listener, Subsystem
from gw_agent.group_key import GroupKey, GroupKeyError
from gw_agent.host_keys import HostKeys, SealedKey

NQN, HOST = "nqn.2016-06.io.spdk:keys", "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
KEY, OTHER = SealedKey("sealed"), SealedKey("other")


def interchange(kind, number, secret):
    return f"{kind}:{number}:{base64.b64encode(secret + zlib.crc32(secret).to_bytes(4, 'little')).decode()}:"


DHCHAP = interchange("DHHC-1", "01", b"d" * 32)


# their form


@pytest.mark.parametrize("kind, number, size", [
    ("DHHC-1", "00", 32), ("DHHC-1", "00", 64), ("DHHC-1", "01", 32), ("DHHC-1", "02", 48), ("DHHC-1", "03", 64),
    ("NVMeTLSkey-1", "00", 48), ("NVMeTLSkey-1", "01", 32), ("NVMeTLSkey-1", "02", 48)])
def test_keys_as_the_tools_make_them_are_taken(kind, number, size):
    check = key_formats.check_dhchap if kind == "DHHC-1" else key_formats.check_psk
    assert check(interchange(kind, number, bytes(range(size)))) is None


@pytest.mark.parametrize("text, said", [
    ("secret", "does not begin with DHHC-1:"),
    (DHCHAP.replace("DHHC-1", "NVMeTLSkey-1"), "does not begin with DHHC-1:"),
    (DHCHAP[:-1], "with a colon at its end"),
    (DHCHAP + "\n", "with a colon at its end"),
    (DHCHAP.replace(":01:", ":1:"), "hash that is not one of 00, 01, 02, 03"),
    (DHCHAP.replace(":01:", ":04:"), "hash that is not one of"),
    (DHCHAP.replace(":01:", ":03:"), "a secret of 32 bytes and a checksum of 4, with hash 03 it is 64"),
    (DHCHAP.replace("ZGRk", "ZGR!", 1), "not base64"),
    (DHCHAP.replace("ZGRk", "ZGRj", 1), "a wrong checksum"),
    (DHCHAP[:12] + "A" * 300, "at most 199 fit"),
    ("DHHC-1:01::", "a secret of 0 bytes"),
])
def test_what_is_no_key_is_refused_with_the_reason_and_without_repeating_it(text, said):
    problem = key_formats.check_dhchap(text)
    assert said in problem and "nvme gen-dhchap-key" in problem
    assert not any(part in problem for part in text.split(":") if len(part) > 6 and "TLS" not in part)


# how they are stored


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "group.key"
    path.write_text(base64.b64encode(b"k" * 32).decode() + "\n")
    path.chmod(0o600)
    return path


def test_what_was_sealed_is_read_with_the_same_file_only(key_file):
    sealed = GroupKey(str(key_file)).seal(DHCHAP)
    assert sealed.encrypted and DHCHAP not in sealed.text and "text" not in repr(sealed)
    assert GroupKey(str(key_file)).open(sealed) == DHCHAP
    key_file.write_text(base64.b64encode(b"o" * 32).decode())
    with pytest.raises(GroupKeyError, match="not encrypted with .*group.key"):
        GroupKey(str(key_file)).open(sealed)


def test_files_and_texts_of_existing_gateways_are_read(key_file):
    """The form of a PEM private key; the text is base64 of a Fernet token, made here with that library alone."""
    from cryptography.fernet import Fernet
    secret = bytes(range(48))
    key_file.write_text("-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(secret).decode()
                        + "-----END PRIVATE KEY-----\n")
    token = Fernet(base64.urlsafe_b64encode(secret[:32])).encrypt(DHCHAP.encode())
    assert GroupKey(str(key_file)).open(SealedKey(base64.b64encode(token).decode())) == DHCHAP
    assert GroupKey(None).open(SealedKey(DHCHAP, encrypted=False)) == DHCHAP


@pytest.mark.parametrize("break_it, said", [
    (lambda p: p.unlink(), "cannot be read: No such file"), (lambda p: p.chmod(0o644), "chmod o="),
    (lambda p: p.write_text("short"), "not base64 of at least 32 bytes"),
    (lambda p: p.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n"), "not base64 of at least 32 bytes")])
def test_a_file_that_cannot_be_used_is_refused_with_the_way_out(key_file, break_it, said):
    break_it(key_file)
    with pytest.raises(GroupKeyError, match=said):
        GroupKey(str(key_file)).seal(DHCHAP)


def test_without_a_file_no_key_is_taken():
    with pytest.raises(Refused, match="encryption_key.*openssl rand -base64 32") as refused:
        changes_keys.sealed(GroupKey(None), "dhchap_key", DHCHAP)
    assert refused.value.code == errno.ENOKEY
    assert changes_keys.sealed(GroupKey(None), "psk", "") is None


# what may be changed


def stored(*changed, subsystem=Subsystem(NQN, "Ceph1")):
    omap = dict([configuration.subsystem_entry(subsystem)])
    for change in changed:
        for key in change.removes:
            omap.pop(key, None)
        omap.update(change.sets)
    parsed, problems = configuration_reader.parse(omap)
    assert not problems
    return Stored(1, omap, parsed)


def test_a_host_is_stored_with_its_keys_in_the_fields_of_existing_gateways():
    change = changes_keys.add_host(stored(), NQN, HOST, HostKeys(KEY, OTHER))
    value, = (json.loads(text) for text in change.sets.values())
    assert value == {"subsystem_nqn": NQN, "host_nqn": HOST, "dhchap_key": "sealed", "key_encrypted": True,
                     "psk": "other", "psk_encrypted": True}
    assert stored(change).configuration.subsystems[NQN].keys_of(HOST) == HostKeys(KEY, OTHER)


def test_a_hosts_key_can_be_changed_and_taken_away_and_its_tls_key_stays():
    now = stored(changes_keys.add_host(stored(), NQN, HOST, HostKeys(KEY, OTHER)))
    now = Stored(1, {**now.omap, **changes_keys.change_host_key(now, NQN, HOST, OTHER).sets}, now.configuration)
    assert configuration_reader.parse(now.omap)[0].subsystems[NQN].keys_of(HOST) == HostKeys(OTHER, OTHER)
    without = configuration_reader.parse({**now.omap, **changes_keys.change_host_key(now, NQN, HOST, None).sets})[0]
    assert without.subsystems[NQN].keys_of(HOST) == HostKeys(None, OTHER)


def test_a_subsystem_has_a_key_only_while_every_host_has_one():
    created = changes_keys.add_subsystem(changes.add_subsystem(Stored(1, {}, configuration.Configuration()), NQN,
                                                               "Ceph1", 16, True), NQN, KEY)
    omap = dict(created.sets)
    now = Stored(1, omap, configuration_reader.parse(omap)[0])
    assert now.configuration.subsystems[NQN].dhchap_key == KEY
    refusals = [lambda: changes_keys.add_host(now, NQN, HOST, HostKeys(None, OTHER)),
                lambda: changes_keys.add_host(now, NQN, "*", HostKeys())]
    open_one = stored(changes_keys.add_host(stored(), NQN, HOST, HostKeys()))
    refusals.append(lambda: changes_keys.change_subsystem_key(open_one, NQN, KEY))
    keyed = {**omap, **changes_keys.add_host(now, NQN, HOST, HostKeys(KEY)).sets}
    both = Stored(1, keyed, configuration_reader.parse(keyed)[0])
    refusals.append(lambda: changes_keys.change_host_key(both, NQN, HOST, None))
    for refused in refusals:
        with pytest.raises(Refused, match="key"):
            refused()
    assert changes_keys.change_subsystem_key(both, NQN, None).sets


def test_any_host_goes_with_neither_keys_nor_tls():
    with pytest.raises(Refused, match="a key belongs to one host"):
        changes_keys.add_host(stored(), NQN, "*", HostKeys(KEY))
    secure = stored(changes.add_listener(stored(), NQN, Listener("gw1", "10.0.0.1", secure=True)))
    with pytest.raises(Refused, match="one by one"):
        changes_keys.add_host(secure, NQN, "*", HostKeys())
    with pytest.raises(Refused, match="remove host"):
        changes.add_listener(stored(changes_keys.add_host(stored(), NQN, "*", HostKeys())), NQN,
                             Listener("gw1", "10.0.0.1", secure=True))


def test_a_stored_key_that_is_none_costs_its_entry_and_is_not_repeated():
    key, text = configuration.host_entry(NQN, HOST)
    for value in ("<invalid>", 5, ["DHHC-1:01:x"]):
        omap = {**stored().omap, key: json.dumps({**json.loads(text), "dhchap_key": value})}
        parsed, problem_of = configuration_reader.parse(omap)
        assert HOST not in parsed.subsystems[NQN].hosts
        problem, = problem_of.values()
        assert "dhchap_key holds no key" in problem and "DHHC" not in problem
