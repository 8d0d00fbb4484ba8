"""Every recorded request gets the recorded answer (facts/spdk-transcript.jsonl), replayed in order on one target
and a real cluster.

What differs from run to run is compared by shape: numbers of ticks and busy time, versions. What belonged to
the recording's machine (paths, ports, monitor addresses, image names) is translated.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Iterator

import pytest
from testbed.cluster import Cluster

from target_sim.target_process import TargetProcess, free_port

RECORD = [
    json.loads(line) for line in (Path(__file__).parent / "facts" / "spdk-transcript.jsonl").read_text().splitlines()
]
VOLATILE = {
    "tick_rate",
    "busy",
    "idle",
    "version",
    "major",
    "minor",
    "patch",
    "suffix",
    "commit",
    "active_pollers_count",
    "timed_pollers_count",
}
IMAGE_MIB = 128


class Translation:
    """From the recording's machine to this one. Used on requests and on the answers expected."""

    def __init__(self, cluster: Cluster) -> None:
        hosts = cluster.ceph_json("mon", "dump")["mons"][0]["public_addrs"]["addrvec"]
        self._replaced = {
            '"/etc/ceph/ceph.conf"': json.dumps(str(cluster.conf)),
            '"/etc/ceph/keyring"': json.dumps(str(cluster.keyring())),
            '"[v2:127.0.0.1:40001,v1:127.0.0.1:40002]"': json.dumps(
                "[" + ",".join(f"{host['type']}:{host['addr']}" for host in hosts) + "]"
            ),
            '"44201"': f'"{free_port()}"',
            '"44299"': f'"{free_port()}"',
            '"none"': '"cephx"',
        }

    def __call__(self, value: Any) -> Any:
        text = re.sub(r'"img([0-9])"', r'"transcript-\1"', json.dumps(value))
        for recorded, here in self._replaced.items():
            text = text.replace(recorded, here)
        return json.loads(text)


@pytest.fixture(scope="module")
def replayed(
    cluster: Cluster, nvmf_tgt: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[dict, dict]]]:
    """(expected, answered) for each entry of the record."""
    images = [f"transcript-{number}" for number in range(1, 5)]
    for image in images:
        cluster.run("rbd", "create", image, "--size", f"{IMAGE_MIB}M")
    translated = Translation(cluster)
    with TargetProcess(nvmf_tgt, tmp_path_factory.mktemp("target")) as target:
        client = target.client()
        answers = []
        for entry in RECORD:
            request = translated(entry["request"])
            client.socket.sendall(json.dumps(request).encode())
            answers.append((translated(entry["response"]), client.answer(request["id"])))
        client.close()
        yield answers
    for image in images:
        cluster.run("rbd", "rm", image)


def difference(expected: Any, found: Any, where: str = "") -> str:
    """Where the two differ in names, order, type or (volatile members aside) value; "" when they do not."""
    if where.rsplit(".", 1)[-1] in VOLATILE:
        return "" if type(expected) is type(found) else f"{where}: {expected!r} was expected, got {found!r}"
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(expected) != list(found):
            return f"{where}: members {list(expected)} were expected, got {list(found)}"
        return next(filter(None, (difference(expected[name], found[name], f"{where}.{name}") for name in expected)), "")
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{where}: {len(expected)} elements were expected, got {len(found)}: {found}"
        return next(
            filter(None, (difference(*pair, f"{where}[{index}]") for index, pair in enumerate(zip(expected, found)))),
            "",
        )
    return (
        ""
        if type(expected) is type(found) and expected == found
        else f"{where}: {expected!r} was expected, got {found!r}"
    )


@pytest.mark.parametrize(
    "index", range(len(RECORD)), ids=[f"{entry['request']['id']}-{entry['request']['method']}" for entry in RECORD]
)
def test_a_recorded_request_gets_the_recorded_answer(index: int, replayed: list[tuple[dict, dict]]) -> None:
    assert difference(*replayed[index]) == ""
