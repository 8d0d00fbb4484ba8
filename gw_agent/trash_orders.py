"""Orders to move an image to the trash, stored in the write that deletes its namespace.

Pure. An order is there until it was carried out, so that who dies in between leaves no image that nobody asked to keep:
its gateway's next agent, or another gateway, goes on (`image_trash.py`). While it is stored, nobody may add the image
again. It names the image by its id too: what gets the name later is another image.
"""
from __future__ import annotations

import json
from typing import List, Mapping, NamedTuple

from gw_agent import nqn as names
from gw_agent.configuration import Entry, Namespace

KIND = "image-trash"


class Order(NamedTuple):
    """`number`: the namespace's uuid. `gateway`: who was asked, and carries it out while it lives."""

    number: str
    pool: str
    image: str
    image_id: str
    gateway: str

    @property
    def key(self) -> str:
        return names.KEY_DELIMITER.join((KIND, self.number))

    @property
    def entry(self) -> Entry:
        return self.key, json.dumps({"rbd_pool_name": self.pool, "rbd_image_name": self.image,
                                     "rbd_image_id": self.image_id, "gateway": self.gateway})


def order(namespace: Namespace, image_id: str, gateway: str) -> Order:
    return Order(namespace.uuid, namespace.pool, namespace.image, image_id, gateway)


def stored_orders(omap: Mapping[str, str]) -> List[Order]:
    """What is not readable as one has no effect."""
    found = []
    for key in sorted(key for key in omap if key.startswith(KIND + names.KEY_DELIMITER)):
        try:
            value = json.loads(omap[key])
            found.append(Order(key.partition(names.KEY_DELIMITER)[2], *(str(value[field]) for field in (
                "rbd_pool_name", "rbd_image_name", "rbd_image_id", "gateway"))))
        except (ValueError, TypeError, KeyError):
            continue
    return found
