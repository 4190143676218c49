"""An OCI registry client: what `pull` and `push` do against any registry.

Imported by those commands only; the node itself has no upstream credentials and asks no
registry. Nothing here logs or prints: what happens is told to a `Progress`, and a failure
is one sentence that says what to do.
"""
