#!/bin/bash
# The lab's guest: a tiny Linux made of Debian packages only (the cloud kernel and busybox), ready in about 3 s under
# plain emulation with 96 MiB of memory (below 80 MiB it does not boot).
#
#   guest.sh build OUT     make OUT/{vmlinux,vmlinuz,initrd.img,base.qcow2}; no work and no network when they are
#                          there already and this recipe has not changed
#   guest.sh recipe        print the recipe's hash
#
# vmlinux     the kernel, uncompressed: boots and resets 3 to 8 times quicker under emulation than vmlinuz
# base.qcow2  64 MiB data disk, marked "base" (see vt.mark): a clone of it says DISK-MARK base
#
# Flags on the kernel command line (besides console=ttyS0 quiet panic=0):
#   vt.noacpi       ignore the ACPI power button       vt.ip=10.88.0.2/24  address of eth0, with a web server behind it
#   vt.tick=0.2     print "TICK n uptime" every 0.2 s: n goes on only if memory survived (suspend, save, migration)
#   vt.selfoff=5    power itself off after 5 s         vt.dirty=64         keep rewriting 64 MiB of memory
#   vt.panic=5      kernel panic after 5 s
#   vt.mark=TEXT    write "OSTLER-MARK TEXT" in the first sector of /dev/vda (synced): proves that a disk persists
#
# What it prints on its serial console:
#   DISK-MARK text     what /dev/vda carried when it booted (nothing printed if it carries no mark)
#   DISK-MARKED text   the new mark is on the disk, read back
#   GUEST-READY uptime=.. cpus=.. memkb=.. disks=vda, nics=eth0,
#   TICK n uptime      ACPI-POWER-BUTTON uptime      SELF-OFF
#   DISK+ vdb bytes=n  DISK- vdb  DISK= vdb bytes=n     a disk was plugged in, was taken out, has another size
#   NIC+ eth1 mac      NIC- eth1 mac                    the same for network cards
#   CPUS n             MEMORY kb=n                      so many processors and so much memory there are from now on
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/common.sh
. "$here/../../../scripts/lib/common.sh"

products=(vmlinux vmlinuz initrd.img base.qcow2)
# Load order matters (virtio_ring before virtio): the initrd has no modprobe.
modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk failover net_failover
  virtio_net virtio_balloon virtio_console virtio-rng evdev button pvpanic pvpanic-mmio pvpanic-pci)

recipe() { (cd "$here" && sha256sum guest.sh guest/init guest/power-button guest/on-uevent) | sha256sum | cut -d' ' -f1; }

is_built() {
  local file
  [ "$(cat "$1/recipe" 2>/dev/null)" = "$(recipe)" ] || return 1
  for file in "${products[@]}"; do [ -s "$1/$file" ] || return 1; done
}

# Downloads the newest cloud kernel and busybox that apt's lists name into the current directory.
download() {
  local kernel
  kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
  kernel=${kernel%%$'\n'*}
  [ -n "$kernel" ] || return 1
  timeout 300 apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$kernel" busybox-static
}

# apt's lists may be absent, or older than what the mirror still has: then fetch them and try once more.
download_or_update() {
  download 2>/dev/null && return
  say "fetching apt's package lists"
  retry 3 timeout 300 apt-get -qq update || die "apt-get update failed: check the network and the apt sources"
  download || die "could not download linux-image-cloud-amd64 and busybox-static: check the network and the apt sources"
}

# Without a decompressor in the kernel, emulation saves 10 s a boot. The payload of a Debian bzImage is lz4 (legacy frame).
uncompress_kernel() {
  local offset
  # shellcheck disable=SC2013  # numbers, one to a line
  for offset in $(grep -obUaP '\x02\x21\x4c\x18' "$1" | cut -d: -f1); do
    tail -c "+$((offset + 1))" "$1" | lz4 -dc >"$2" 2>/dev/null || true # the bytes behind the payload make lz4 complain
    [ "$(head -c 4 "$2" | od -An -tx1 | tr -d ' ')" != 7f454c46 ] || return 0
  done
  return 1
}

build_initrd() {
  local unpacked=$1 root=$2 out=$3 number=10 module file
  mkdir -p "$root"/{bin,proc,sys,dev,tmp,modules,etc/acpi/PWRF,mnt}
  install -m 755 "$unpacked/bin/busybox" "$root/bin/busybox"
  install -m 755 "$here/guest/init" "$root/init"
  install -m 755 "$here/guest/on-uevent" "$root/bin/on-uevent"
  install -m 755 "$here/guest/power-button" "$root/etc/acpi/PWRF/00000080"
  for module in "${modules[@]}"; do
    file=$(find "$unpacked/lib/modules" -name "$module.ko*" -print -quit)
    [ -n "$file" ] || die "the kernel package has no module $module: correct the list in $0"
    case $file in
      *.xz) xz -dc "$file" >"$root/modules/$number-$module.ko" ;;
      *) cp "$file" "$root/modules/$number-$module.ko" ;;
    esac
    number=$((number + 1))
  done
  (cd "$root" && find . | sort | "$unpacked/bin/busybox" cpio -o -H newc 2>/dev/null) | gzip -9n >"$out"
}

build_disk() {
  { printf 'OSTLER-MARK base\n'; } >"$1.raw"
  truncate -s 64M "$1.raw"
  qemu-img convert -q -f raw -O qcow2 "$1.raw" "$1"
  rm -f "$1.raw"
}

build() {
  local out=$1 work file
  [ "$(dpkg --print-architecture)" = amd64 ] || die "the lab's guest is for amd64 machines only"
  need apt-get dpkg-deb lz4 xz qemu-img
  rm -rf "$out"/build.?????? # of a build that was killed; the lock is ours
  work=$(mktemp -d "$out/build.XXXXXX")
  # shellcheck disable=SC2064  # the directory's name now, not later
  trap "rm -rf '$work'" EXIT
  cd "$work"
  download_or_update
  for file in ./*.deb; do dpkg-deb -x "$file" unpacked; done
  cp unpacked/boot/vmlinuz-* vmlinuz
  uncompress_kernel vmlinuz vmlinux || die "found no lz4 payload in the kernel: Debian changed its compression, teach $0"
  build_initrd "$work/unpacked" "$work/root" "$work/initrd.img"
  build_disk base.qcow2
  rm -f "$out/recipe" # from here to the last line the set is not whole
  sync -d "${products[@]}"
  mv -f "${products[@]}" "$out/"
  recipe >"$work/recipe" && mv -f "$work/recipe" "$out/recipe"
}

case "${1-} ${2-}" in
  "build "?*)
    mkdir -p "$2"
    out=$(cd "$2" && pwd)
    exec 9>"$out/lock"
    flock -w 600 9 || die "somebody else has been building $out for 10 minutes: see 'fuser $out/lock'"
    if is_built "$out"; then
      say "guest: up to date in $out"
    else
      started=$(now_ms)
      build "$out"
      say "guest: built in $(($(now_ms) - started)) ms in $out"
    fi
    ;;
  "recipe ") recipe ;;
  *) die "usage: $0 build OUT | recipe" ;;
esac
