"""Both peer sockets: sealed datagrams and signed HTTP/1.1, behind one port number.

Handlers are registered by kind (datagrams) and by path (HTTP); this package knows
neither membership nor the directory. What arrives here is hostile until it has
been opened or its signature checked; what a handler gets comes from a member of
the cluster (in plaintext mode: from anybody who can reach the port).
"""
