"""Parts of the membership engine, put together for a test of one of them."""

from __future__ import annotations

import random

from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.introspection import SwimCounters
from spegel_gossip.swim.member import MemberRecord
from spegel_gossip.swim.outbox import Outbox
from spegel_gossip.swim.view import View


def make_view(
    record: MemberRecord, config: SwimConfig | None = None, *, outbox: Outbox | None = None
) -> View:
    """Return a view that knows nobody."""
    return View(record, config or SwimConfig(), random.Random(1), outbox or Outbox(), SwimCounters())
