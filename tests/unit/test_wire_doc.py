"""docs/wire.md names every message and every field there is."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import pura.protocols
import pura_server
from pura.messages import Message
from pura.wire._pb import pura_pb2

NAMED = set(re.findall(r"`([A-Za-z0-9_.]+)`", (Path(__file__).parents[2] / "docs" / "wire.md").read_text()))

for package in (pura.protocols, pura_server):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

ROUND = {name: kind for name, kind in Message.registry.items() if kind.__module__.startswith(("pura.", "pura_server."))}
WIRE = pura_pb2.DESCRIPTOR.message_types_by_name


@pytest.mark.parametrize("name", sorted(ROUND))
def test_a_round_message_is_there_with_its_fields(name: str) -> None:
    assert {name, *(field for field, _ in ROUND[name].layout)} - NAMED - {"bodies"} == set()


@pytest.mark.parametrize("name", sorted(WIRE))
def test_a_message_of_grpc_is_there_with_its_fields(name: str) -> None:
    assert {name, *(field.name for field in WIRE[name].fields)} - NAMED == set()


def test_every_method_is_there() -> None:
    methods = {m.name for service in pura_pb2.DESCRIPTOR.services_by_name.values() for m in service.methods}
    assert methods - NAMED == set()
