"""An agent in a process of its own that is asked for one change and meets a fault in the middle of it.

The process is forked from a server that has loaded everything already, so that a hundred of them cost little.
"""
from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, FrozenSet, List, Optional

import rados

from fault_steps import Fault, Steps
from gw_agent import config_store
from gw_agent import settings as settings_module
from gw_agent.pb import gateway_pb2 as pb
from standalone_gateway import StandaloneGateway

ANSWER_S = 60
LOCK_DURATION_S = 1
"""How long a dead agent keeps others from changing the configuration: here so short, because many die."""
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["faulty_agent"])


@dataclass(frozen=True)
class Call:
    """A change that the API is asked for; `request` is a message of gateway.proto by name, with its fields."""

    name: str
    verb: str
    request: str
    fields: Any

    def message(self) -> Any:
        return getattr(pb, self.request)(**self.fields)


@dataclass(frozen=True)
class Place:
    """Where agents run: paths, and the RADOS addresses of the group's targets."""

    ceph_conf: str
    settings: str
    socket: str
    addresses: FrozenSet[str]


@dataclass(frozen=True)
class Told:
    """`status` None: the agent ended before it answered."""

    status: Optional[int]
    text: str = ""
    steps: Optional[List[str]] = None


def ask(place: Place, call: Call, fault: Fault) -> Told:
    """Starts an agent, asks it, and returns when it is gone."""
    here, there = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_live, args=(there, place, call, fault))
    process.start()
    there.close()
    try:
        if not here.poll(ANSWER_S):
            process.kill()
            raise AssertionError(f"{call.name} with {fault}: no answer within {ANSWER_S} s")
        return here.recv()
    except EOFError:
        return Told(None)
    finally:
        process.join()
        here.close()


def _live(told: Connection, place: Place, call: Call, fault: Fault) -> None:
    config_store.LOCK_DURATION_S = LOCK_DURATION_S
    steps = Steps(fault)
    steps.watch()
    with rados.Rados(conffile=place.ceph_conf, name="client.admin") as client:
        gateway = StandaloneGateway(steps.cluster(client), settings_module.load(place.settings), place.socket)
        gateway.addresses = place.addresses
        with gateway:
            steps.armed = True
            reply = gateway.answer(call.verb, call.message())
            gateway.run(gateway.store.lock_given_back())
            told.send(Told(reply.status, reply.error_message, steps.taken))
            os._exit(0)   # what still goes on (a notification may wait for a dead watcher) is of no interest
