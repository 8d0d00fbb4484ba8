"""The gRPC interface is the one that existing clients were built against.

gateway-interface.txt lists every name, number, type and label of ceph-nvmeof 1.5.1; the generated modules
have to agree with it line by line. A later addition to the interface is a new line there; no line ever changes.
"""
from __future__ import annotations

from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor

from gw_agent.pb import gateway_pb2, monitor_pb2

GOLDEN = Path(__file__).with_name("gateway-interface.txt")
TYPES = {getattr(FieldDescriptor, name): name[len("TYPE_"):].lower() for name in dir(FieldDescriptor)
         if name.startswith("TYPE_")}


def type_name(field):
    named = field.message_type or field.enum_type
    return named.full_name if named else TYPES[field.type]


def label(field):
    if field.is_repeated:
        return "repeated"
    return "optional" if field.has_presence and not field.message_type else "plain"


def interface(module):
    lines = []
    for enum in module.DESCRIPTOR.enum_types_by_name.values():
        lines += [f"enum {enum.full_name} {value.name} {value.number}" for value in enum.values]
    for service in module.DESCRIPTOR.services_by_name.values():
        lines += [f"rpc {service.full_name}.{method.name} {method.input_type.full_name} "
                  f"{method.output_type.full_name}" for method in service.methods]
    for message in module.DESCRIPTOR.message_types_by_name.values():
        lines.append(f"message {message.full_name}")
        lines += [f"field {message.full_name}.{field.name} {field.number} {label(field)} {type_name(field)}"
                  for field in message.fields]
    return lines


def test_every_name_number_and_type_is_that_of_existing_clients():
    assert sorted(interface(gateway_pb2) + interface(monitor_pb2)) == GOLDEN.read_text().splitlines()
