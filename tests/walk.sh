#!/usr/bin/env bash
# A walk through the whole life of VMs as an operator takes it: with the command line only, on real guests, two hosts.
#
#   tests/walk.sh         as tests/walk.rs runs it: OSTLER (the command), OSTLER_SERVER (the daemon) and STORE (the folder of the
#                         system datastore, as this machine sees it) are set; the hosts kvm1 and kvm2 share their storage
#
# Each section is one of the guide's: what is asked, what is seen, and what the guest itself says. It ends at the first surprise.
set -euo pipefail

ostler() { "$OSTLER" "$@"; }
section() { printf '\n== %s\n' "$*"; }
# Shows a command, then runs it.
run() {
  printf '$ ostler %s\n' "$*"
  ostler "$@"
}
die() {
  printf 'walk: %s\n' "$*" >&2
  exit 1
}
# Must be refused, with these words.
refused() {
  local words=$1 said
  shift
  printf '$ ostler %s   (must be refused)\n' "$*"
  if said=$(ostler "$@" 2>&1); then die "was not refused: $*"; fi
  [[ $said == *"$words"* ]] || die "refused in other words than \"$words\": $said"
}
# Asks until it is so: at most some 100 seconds.
eventually() {
  local tries
  for ((tries = 0; tries < 500; tries++)); do
    if "$@"; then return; fi
    read -rt 0.2 <> <(:) || true
  done
  die "never: $*"
}
field() { ostler vm show "$1" -o json | jq -r ".$2 // empty"; }
state_is() { [[ $(field "$1" state) == "$2" && -z $(field "$1" operation) ]]; }
must_be() { state_is "$1" "$2" || die "VM $1 is $(field "$1" state), not $2: $(ostler vm why "$1")"; }
console() { printf '%s/vms/%s/console.log' "$STORE" "$(field "$1" uuid)"; }
says() { grep -qa -- "$2" "$(console "$1")" 2>/dev/null; }
count_of() { grep -ac -- "$2" "$(console "$1")" 2>/dev/null || true; }
says_again() { (($(count_of "$1" "$2") > $3)); }
last_tick() { grep -a '^TICK ' "$(console "$1")" | tail -n 1 | cut -d' ' -f2; }
counts_past() { (($(last_tick "$1") > $2)); }
spec() {
  cat <<T
name = "$1"
cpu = 0.5
memory = "96MiB"
headroom = { vcpus = 3, memory = "160MiB" }
[boot]
kernel = "images:vmlinux"
initrd = "images:initrd.img"
cmdline = "console=ttyS0 quiet panic=0 vt.tick=0.2 ${2-}"
[patience]
boot_grace = "1s"
[[disks]]
name = "vda"
image = "${3-base}"
T
}

section "Creating: held, released, listed"
spec web >"$WORK/web.toml"
run vm create --file "$WORK/web.toml" --hold
must_be web hold
run vm list
run vm why web
refused "not possible" vm suspend web
run vm release web
eventually state_is web running
eventually says web GUEST-READY
run vm show web

section "Suspending and resuming: the guest counts on"
counted=$(last_tick web)
run vm suspend web
must_be web suspended
run vm resume web
eventually counts_past web "$((counted + 2))"

section "Stopping: no host is needed, and memory is kept"
counted=$(last_tick web)
run vm stop web
must_be web stopped
run vm resume web
eventually state_is web running
eventually counts_past web "$((counted + 2))"

section "Rebooting, softly and hard"
booted=$(count_of web GUEST-READY)
run vm reboot web
eventually says_again web GUEST-READY "$booted"
booted=$(count_of web GUEST-READY)
run vm reboot web --hard
eventually says_again web GUEST-READY "$booted"

section "Moving: live, with its memory, switched off, at rest"
here=$(field web placement.host)
there=kvm1
[[ $here == kvm1 ]] && there=kvm2
counted=$(last_tick web)
run vm migrate web "$there" --live --dry-run
run vm migrate web "$there" --live
[[ $(field web placement.host) == "$there" ]] || die "it is not on $there"
eventually counts_past web "$((counted + 2))"
counted=$(last_tick web)
run vm migrate web "$here"
eventually counts_past web "$((counted + 2))"
run vm resched web
run vm unresched web || true
eventually state_is web running

section "Plugging disks and cards"
run vm disk-attach web --blank 16MiB
eventually says web "DISK+ vdb"
run vm nic-attach web --bridge br0
eventually says web "NIC+ eth"
run vm nic-detach web "$(field web nics[0].mac)"
eventually says web "NIC- eth"
run vm disk-detach --yes web vdb
eventually says web "DISK- vdb"

section "Resizing: while it runs, and at rest"
run vm resize web --memory 140MiB
eventually says web "MEMORY kb=1"
refused "at most" vm resize web --memory 4GiB
run vm poweroff web --hard
run vm resize web --vcpus 2 --memory 96MiB
booted=$(count_of web GUEST-READY)
run vm resume web
eventually says_again web GUEST-READY "$booted"
says web "cpus=2 " || die "the guest has not two CPUs"

section "Snapshots of the whole VM"
eventually counts_past web 5
run vm snapshot-create web before
then=$(last_tick web)
eventually counts_past web "$((then + 10))"
run vm snapshot-revert web before
must_be web running
# It counts again what it had counted since.
grep -a '^TICK ' "$(console web)" | cut -d' ' -f2 | awk 'last != "" && $1 < last { back = 1 } { last = $1 } END { exit !back }' ||
  die "the guest did not go back"
run vm snapshot-delete web before

section "Images made of disks"
run vm disk-snapshot web vda golden --live
run image list
run vm disk-snapshot web vda later
run vm disk-snapshot-cancel web vda
run vm disk-snapshot web vda saved-at-the-end

section "Names, user data, and things to be done later"
run vm rename web shop
printf 'hello' | run vm update shop --user-data -
run vm schedule shop suspend --at "$(date -u -d '+3 seconds' +%Y-%m-%dT%H:%M:%S)"
run vm schedules shop
eventually state_is shop suspended
run vm schedules shop
run vm schedule shop poweroff --at "daily 02:00" --zone Europe/Berlin
run vm unschedule shop 1
run vm resume shop

section "A guest that switches itself off"
spec fleeting "vt.selfoff=4" >"$WORK/fleeting.toml"
run vm create --file "$WORK/fleeting.toml"
eventually state_is fleeting poweroff
[[ $(field fleeting reason) == guest ]] || die "the reason is $(field fleeting reason)"
run vm undeploy fleeting
must_be fleeting undeployed
run vm shutdown --yes fleeting

section "The end: disks that become images do"
run vm shutdown --yes shop
must_be shop done
spec heir "" saved-at-the-end >"$WORK/heir.toml"
run vm create --file "$WORK/heir.toml"
eventually state_is heir running
eventually says heir "DISK-MARK base"
run vm delete --yes heir --recreate
eventually state_is heir running
run vm delete --yes heir
run vm list --all
run admin check

section "That was all of it"
