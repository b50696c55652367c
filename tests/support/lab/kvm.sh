# shellcheck shell=bash
# Can KVM really run a guest here? Source it behind scripts/lib/common.sh.
#
#   kvm_works LAB    0 when the lab's guest has booted under KVM on this machine; the answer is kept in LAB/kvm
#
# /dev/kvm may exist, accept every call, be advertised by libvirt, and still never bring a stock kernel up (seen: a host
# kernel with PVM instead of VMX). So boot the guest and wait for its word, 8 s at most, once per boot of the machine.

kvm_probe_seconds=8

kvm_works() {
  local lab=$1 key
  [ -c /dev/kvm ] && [ -r /dev/kvm ] && [ -w /dev/kvm ] || return 1
  key="$(cat /proc/sys/kernel/random/boot_id) $(uname -r)"
  (
    exec 8>"$lab/kvm.lock"
    flock -w 60 8 || die "another probe of KVM has been running for a minute: see 'fuser $lab/kvm.lock'"
    if ! grep -qsF -e "$key" "$lab/kvm"; then
      if kvm_boots "$lab"; then printf '%s works\n' "$key" >"$lab/kvm"; else printf '%s fails\n' "$key" >"$lab/kvm"; fi
    fi
    grep -qxF -e "$key works" "$lab/kvm"
  )
}

kvm_boots() {
  local lab=$1 log pid rc=0
  log=$(mktemp "$lab/kvm-probe.XXXXXX")
  timeout -k 1 $((kvm_probe_seconds + 2)) qemu-system-x86_64 -accel kvm -m 96 -nodefaults -display none -no-reboot \
    -serial "file:$log" -kernel "$lab/guest/vmlinux" -initrd "$lab/guest/initrd.img" \
    -append "console=ttyS0 quiet panic=-1" </dev/null >/dev/null 2>&1 8>&- &
  pid=$!
  wait_for "$kvm_probe_seconds" kvm_decided "$log" "$pid" || true
  grep -qa GUEST-READY "$log" || rc=1
  kill "$pid" 2>/dev/null || true # timeout hands it on, and kills a second later what does not listen
  wait "$pid" 2>/dev/null || true
  rm -f "$log"
  return "$rc"
}

# Decided when the guest spoke, or when its qemu has ended.
kvm_decided() { grep -qa GUEST-READY "$1" || ! kill -0 "$2" 2>/dev/null; }
