"""What this application itself wrote down, as a source: records that its servers appended to the journal of the source,
durable before they answered.

It is read like the journal of webhooks, but nobody sends to it: it has no address and needs no signature.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from customer360.platform.connections import Connection
from customer360.platform.sources.webhooks import Webhooks


class Own(Webhooks):
    """Records of this application, a JSON object each. The journal lies in the state folder of the server that wrote
    it: runs are of that machine."""

    connects: ClassVar[type[Connection] | None] = None

    kind: Literal["journal"] = "journal"  # type: ignore[assignment]
