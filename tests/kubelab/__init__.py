"""A small Kubernetes of real programs on one machine: no Docker, no virtual machines, no internet.

etcd, kube-apiserver, controller manager, scheduler and CoreDNS in one network namespace; nodes with their
own containerd, kubelet and kube-proxy in others; the registry and the bridge are the ones of `lab`. It
needs root, the cgroup v1 hierarchies, and what scripts/build-kubernetes leaves in .tools/.

The same hostPath is another file on each node: a node has its own mounts, processes, host name and cgroups
besides its own network, and nothing that happens on it changes the host.

The map, from the inside out:

- `programs`: where each program is
- `cgroups`: a cgroup of ours in every hierarchy, and its end
- `pki`: certificates and kubeconfigs
- `machine`: a machine made of namespaces (`machine.sh` is its boot, `pause.go` its init)
- `node`: a machine with containerd, kubelet and kube-proxy; `settings`: what these are told
- `control_plane`: the programs beside the nodes
- `archives`: images that run, made from files
- `cluster`: `KubeCluster`, which puts all of it together and takes it down
"""
