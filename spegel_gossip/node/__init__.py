"""The node: builds every part, introduces the rooms to each other, and owns the long-lived nursery.

`assembly` builds, `lifecycle` runs and ends, `readiness` judges, `snapshots` shows.
"""

from spegel_gossip.node.lifecycle import run_node

__all__ = ["run_node"]
