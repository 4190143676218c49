"""The laboratory: a small cluster of real programs on one machine, in network namespaces.

Imported as `lab` (`from lab.cluster import Lab`): pytest has `pythonpath = ["tests"]` and mypy has
`mypy_path = "tests"`, so both find the same package under the same name, and a script does with
`PYTHONPATH=tests`. It needs root, and leaves nothing behind.

Everything in it is synchronous: it drives other processes, and a test that waits for a containerd
has nothing better to do. Every wait is bounded, and one that ends without its event says so with
the tail of the logs concerned.

The map, from the inside out:

- `process`: child processes with a log file, bounded waits, what the kernel counts about them
- `network`: a bridge in a namespace of its own, namespaces on it, bandwidth, faults
- `images`: images and artifacts made from a seed; `pushing`: into a registry by plain HTTP
- `registry`: docker-registry, and what its access log says was asked of it
- `containerd`: a containerd with its own root and socket, of any version found on the machine
- `node`: one node, that is a namespace, its containerd and our process
- `cluster`: `Lab`, which puts them together and takes them down
"""
