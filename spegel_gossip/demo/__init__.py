"""The whole idea on one machine, without root: `spegel-gossip demo`.

A registry and a few nodes run as real processes on loopback addresses, each node with an
image layout of its own. A story is told with them, and every claim of it is checked
against what the registry counted, what lies in the layouts and what the nodes answer.

`places` chooses addresses, `children` starts and ends processes, `image` makes the image,
`upstream` and `puller` are two of the programs that run (the nodes are the third, as
anybody starts them), `cluster` has them all, `watch` asks the nodes, `story` tells and
checks, `picture` is what is known so far, `view` and `lines` show it, `run` is the whole.
"""
