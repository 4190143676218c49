"""The only place that moves blob bytes: sendfile, splice, and the Hypercorn extension.

Python decides, the kernel copies. `pump` owns the loop's share of that work; `hypercorn`
puts it within reach of an ASGI handler, `plain` is the same bytes without it.
"""
