"""A peer-to-peer OCI registry mirror for Kubernetes nodes, with SWIM gossip.

Where things are; imports point inward, from the bottom of this list to its top:

    errors      the root of all errors
    oci         digests, references, manifests, distribution requests     core
    swim        membership: SWIM with Lifeguard                           core
    ring        the consistent-hash ring                                  core
    directory   what owners know, what holders must tell them             core
    swarm       for one blob: wait, read from whom, go on, give up        core
    content     the content store port
    pulling     the pulling port
    routing     the router port
    fetching    the fetching port
    wire        both peer sockets: sealed datagrams, signed HTTP          tool
    splice      sendfile, splice, the Hypercorn extension                 tool
    durable     small files, replaced whole                               tool
    gossip      drives swim over the wire                                 room
    discovery   where seed addresses come from                            room
    lookup      the router over directory and ring                        room
    transfer    blobs and manifests between nodes                         room
    prefetch    has nodes pull an image before it is needed               room
    stores      containerd's content, or an OCI image layout              room
    registry    the endpoint that containerd uses as its mirror           room
    client      an OCI registry client, behind pull and push              room
    hosts       hosts.toml                                                room
    status      metrics, readiness, JSON, the page                        room
    admin       the CLI's Unix socket                                     room
    config      every setting, from flags, environment and TOML
    node        builds everything and owns the long-lived nursery
    demo        a cluster on one machine, and a story that is checked
    cli         the commands
    testing     simulated network and cluster, in-memory stores

The core computes and nothing else: no clock, no socket, no logging. Rooms do not
know each other; `node` introduces them. More in docs/architecture.md.
"""
