"""The module's status page on a cluster of the testbed: every mgr serves it on a loopback port of its own, which it keeps
when another one becomes the active mgr; the standby sends browsers there.
"""

from __future__ import annotations

import urllib.request
from typing import Dict

from .cluster import Cluster
from .ports import free_ports
from .waiting import wait_until

MODULE = 'nvmeof_ha'
ADDRESS = '127.0.0.1'


def enable(cluster: Cluster) -> Dict[str, str]:
    """Turn it on, before or after the module; returns the URL of each mgr's."""
    ports = dict(zip(cluster.mgr_names, free_ports(len(cluster.mgr_names), ADDRESS)))
    cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/web_addr', ADDRESS)
    for name, port in ports.items():
        cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/{name}/web_port', str(port))
    cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/web_enabled', 'true')
    return {name: f'http://{ADDRESS}:{port}/' for name, port in ports.items()}


def url(cluster: Cluster) -> str:
    """Where the active mgr serves it, '' when it does not."""
    return cluster.ceph_json('mgr', 'services').get(MODULE, '')


def metrics(cluster: Cluster) -> str:
    """What the active mgr tells Prometheus, as soon as it serves the page."""
    with urllib.request.urlopen(f"{wait_until(lambda: url(cluster), 60, 'the status page')}metrics", timeout=60) as answer:
        return answer.read().decode()
