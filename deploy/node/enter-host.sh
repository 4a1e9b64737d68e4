#!/bin/sh
# The node daemon as a container: it puts its folder onto the host's disk and becomes a process that sees the host as /.
# Its programs (rpm-ostree, kubeadm) are the host's, with the host's libraries; what must outlive it runs as units of the
# host's systemd, so a pod that is replaced cuts nothing off. Use: enter-host.sh HOST [ARGUMENT…]
set -eu
host=$1
shift
folder=/var/lib/kube-upgraded/bin
mkdir -p "$host/var/lib/kube-upgraded"
rm -rf "$host$folder.new"
cp -R "${UPGRADED:-/opt/upgraded}" "$host$folder.new"
rm -rf "$host$folder"
mv "$host$folder.new" "$host$folder"
exec chroot "$host" "$folder/upgraded" "$@"
