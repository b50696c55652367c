#!/bin/bash
# PID 1 of one lab host; libvirtd.sh starts it inside new mount, uts and pid namespaces.
#
#   host-init.sh DIR HOSTNAME HIDE_KVM(yes|no) LISTEN(yes|no) [PRIVATE_FOLDER...]
#
# It gives libvirtd private directories and mounts the host's own folders; all else, above all the place of the images, is
# the machine's. It keeps libvirtd running as a service manager would, and reaps what dies: where nobody reaps quickly, each
# end of a guest costs libvirt 2 s. A host that listens has an sshd as well, whose sessions see what the host sees.
set -euo pipefail
dir=$1 name=$2 hide_kvm=$3 listen=$4
shift 4

mount --make-rprivate /
hostname "$name"
# libvirt looks its own name up at each start of a guest: no reason to ask a resolver.
{ cat /etc/hosts && printf '127.0.1.1 %s\n' "$name"; } >"$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts
if [ "$hide_kvm" = yes ]; then
  # A regular file on a read-only mount: not even root may write it. With /dev/null there instead, libvirt takes KVM for
  # newly come each time it looks, and asks qemu for its capabilities anew: 5 s for each definition and start of a guest.
  : >"$dir/no-kvm"
  mount --bind "$dir/no-kvm" /dev/kvm
  mount -o remount,bind,ro /dev/kvm
fi
mkdir -p /etc/libvirt /run/libvirt /var/{lib,log,cache}/libvirt
mount --bind "$dir/etc" /etc/libvirt
mount --bind "$dir/run" /run/libvirt
for part in lib log cache; do mount --bind "$dir/$part" "/var/$part/libvirt"; done
# A message bus of the machine would let libvirtd reach its systemd-machined.
[ ! -d /run/dbus ] || mount -t tmpfs none /run/dbus

# The same path on each host, other files in it: what hosts without shared storage have.
for folder; do mount --bind "$dir/private$folder" "$folder"; done

if [ "$listen" = yes ]; then
  mkdir -p /run/sshd # where it gives up its privileges
  /usr/sbin/sshd -f "$dir/ssh/config" -E "$dir/log/sshd.log" # it goes to the background itself
fi

options=(-p /run/libvirt/libvirtd.pid)
[ "$listen" = no ] || options+=(-l)
trap 'exit 0' TERM
while :; do
  [ -e /run/libvirt/stop-libvirtd ] || libvirtd "${options[@]}" >>/var/log/libvirt/stderr.log 2>&1 || true
  sleep 0.1
done
