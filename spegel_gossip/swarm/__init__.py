"""The swarm at one node: what it receives, what it tells of that, and how long it waits.

Decisions only. Who reads from whom is the owners' to say (`directory.leases`); a node has to
follow its own ingests, to report them, and to keep its containerd's download slots moving:

    receptions   the ingests that this node's containerd fills, by lease or from another node
    patience     how long a request may wait, and when it gives its slot back
"""
