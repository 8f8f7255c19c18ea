"""The founding way to meet: a node presents itself; from then on it hears of all others, and they of it.

Source: docs/spec/seed-map.md, S-022; docs/spec/control-and-introducer.md, section 3.7.
"""

from __future__ import annotations

from holdfast.grid.introducer_client import STORAGE, IntroducerClient
from holdfast.interfaces.introducer import KnownAnnouncement


async def hello(node: IntroducerClient, nurl: str) -> None:
    """Announce ``nurl``, and have ``node.new_peers`` called with the NURLs of all, its own included.

    Returns when an introducer has told what it knows, or none answers; later ones are told as they come.

    Raises:
        ValueError: the NURL is not the node's, or the node has nothing to sign with.
    """
    node.publish(STORAGE, {}, [nurl])
    node.subscribe_to(STORAGE, _heard)
    await node.ready()
    await node.deliver_peers()


def _heard(known: KnownAnnouncement) -> None:
    """The NURLs go to ``new_peers``; nothing else of an announcement was known in 2007."""
