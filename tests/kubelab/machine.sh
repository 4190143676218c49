#!/bin/bash
# The boot of a machine: makes the fresh namespaces that this runs in its own, then becomes its init.
#   machine.sh DIRECTORY NAME INIT HIERARCHY...     the hierarchies of cgroup v1, as /proc/self/cgroup names them
set -euo pipefail
directory=$1 name=$2 init=$3
shift 3

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for hierarchy in "$@"; do
    point=/sys/fs/cgroup/${hierarchy#name=}
    mkdir "$point"
    case $hierarchy in
    name=*) mount -t cgroup -o "none,$hierarchy" cgroup "$point" ;;
    *) mount -t cgroup -o "$hierarchy" cgroup "$point" ;;
    esac
done
# The host's files, copied when they are written.
for top in etc opt var; do
    mount -t overlay -o "lowerdir=/$top,upperdir=$directory/upper/$top,workdir=$directory/work/$top" overlay "/$top"
done
# These are not on an overlay: containerd's snapshots are overlays themselves, and none stands on another.
for path in lib/containerd lib/kubelet log; do
    mkdir -p "/var/$path"
    mount --bind "$directory/var/$path" "/var/$path"
done
mount -t tmpfs -o mode=755 run /run
mkdir /run/lock /run/programs
# The kubelet sets these for the whole host; here it finds files.
(cd "$directory/sysctl" && find . -type f) | while read -r path; do
    mount --bind "$directory/sysctl/$path" "/proc/sys/$path"
done
while read -r source target; do
    mount --bind "$source" "$target"
done <"$directory/binds"
# Last: the sources above may be below the host's /tmp.
mount --bind "$directory/tmp" /tmp
mount --make-rshared /
hostname "$name"
cd /
exec "$init"
