"""Has nodes pull an image before anybody needs it, each by its own store and through its own mirror.

`jobs` is what each node does when it is asked; `campaign` asks many nodes, and follows them. What a pull
costs the registry is the swarm's affair: to it a prefetch is a pull like any other.
"""
