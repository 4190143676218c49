"""Drives membership: the engine of `swim` over both peer sockets."""
