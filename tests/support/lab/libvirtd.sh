#!/bin/bash
# Private libvirt hosts on one machine, without systemd. Run as root. See usage() below for the commands.
#
# A host is a set of namespaces (mount, uts, pid; with --net also network) with a libvirtd of its own, whose files are all
# under DIR. Keep DIR short: libvirt's socket is DIR/run/libvirt-sock, and a socket's path may have 107 bytes.
# shellcheck disable=SC2016  # single quotes: what stands in them is for a shell inside the host
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../../.." && pwd)
# shellcheck source=scripts/lib/common.sh
. "$repository/scripts/lib/common.sh"
# shellcheck source=tests/support/lab/kvm.sh
. "$here/kvm.sh"
# shellcheck source=tests/support/lab/net.sh
. "$here/net.sh"
lab=${OSTLER_LAB:-$repository/target/lab}

usage() {
  cat <<'U'
usage: libvirtd.sh COMMAND DIR [ARGUMENTS]
  up DIR [OPTIONS]      start a host; prints its connection URI as the last line. Again, after kill: the same options.
     --net N|auto       in a network namespace of its own, number N, joined to the lab's bridges (see net.sh), with
                        libvirtd and sshd listening at 10.77.0.N; DIR/ssh has what a client of the sshd needs
     --private FOLDER   the host has files of its own in this existing folder: they are in DIR/private/FOLDER
     --owner PID        take the host down when the process PID ends without having done so
  down DIR              end the host and all that runs on it; leaves only files in DIR
  kill DIR              the host loses power: everything on it dies at once, its network too; 'up' boots it again
  cut DIR               the host cannot be reached over the network, and reaches nobody; all on it runs on. The socket of
                        the printed URI is no network: it goes on to answer, for a look at what the host does
  mend DIR              the network is whole again
  stop-daemon DIR       libvirtd goes away, guests run on
  start-daemon DIR      ... and comes back
  restart-daemon DIR    both
  kill-daemon DIR       kill -9 of libvirtd; returns when its successor answers
  kill-qemu DIR DOMAIN  kill -9 of a running domain's qemu; returns when it is gone
  freeze-qemu DIR DOMAIN  a running domain's qemu stops answering and working
  thaw-qemu DIR DOMAIN  ... and goes on
  virsh DIR ARGS...     virsh on that host (30 s at most)
  exec DIR ARGS...      any command inside the host's namespaces
  uri DIR               print the connection URI
  accel DIR             print the domain type this host can really run: kvm or qemu
  kvm                   say whether KVM can run a guest on this machine (0 yes, 1 no)
The environment variable OSTLER_LAB names the folder of what is built once (default: target/lab).
U
}

socket() { printf '%s/run/libvirt-sock\n' "$dir"; }
uri() { printf 'qemu+unix:///system?socket=%s\n' "$(socket)"; }
started_at() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }

# Pid files hold "PID STARTED", so that a number used again by another process is never taken for ours.
remember() { printf '%s %s\n' "$2" "$(started_at "$2")" >"$1"; }
recall() {
  local pid started
  read -r pid started 2>/dev/null <"$1" || return 1
  [ -n "$started" ] && [ "$(started_at "$pid")" = "$started" ] || return 1
  printf '%s\n' "$pid"
}
host_init() { recall "$dir/init.pid"; }
is_up() { host_init >/dev/null; }
must_be_up() { is_up || die "the host in $dir is not running: start it with '$0 up $dir'"; }
inside() { nsenter -t "$(host_init)" -m -u -p -n -- "$@"; }
inside_sh() { inside bash -c "$@"; }

answers() { timeout -k 1 5 virsh -q -c "$(uri)" version >/dev/null 2>&1; }
wait_answer() {
  wait_for 30 answers && return
  tail -n 5 "$dir/log/libvirtd.log" "$dir/log/stderr.log" "$dir/log/init.log" >&2 2>/dev/null || true
  die "libvirtd of the host in $dir did not answer within 30 s (its last words are above)"
}
# The daemon's number inside the host; nothing when it does not run.
daemon_pid() { inside_sh 'p=$(cat /run/libvirt/libvirtd.pid 2>/dev/null) && kill -0 "$p" 2>/dev/null && echo "$p"'; }
daemon_is_not() { [ "$(daemon_pid)" != "$1" ]; }

write_configuration() {
  local id
  id=$(printf '%s' "$dir $$ $(now_ms)" | sha256sum)
  mkdir -p "$dir"/{etc,run,lib,log,cache}
  # What a machine keeps in /run does not survive the loss of power.
  find "$dir/run" -mindepth 1 -delete
  [ -e "$dir/id" ] || printf '%s-%s-4%s-8%s-%s\n' "${id:0:8}" "${id:8:4}" "${id:12:3}" "${id:15:3}" "${id:18:12}" >"$dir/id"
  {
    printf 'host_uuid = "%s"\n' "$(cat "$dir/id")" # two hosts with one id refuse to migrate to each other
    printf 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nauth_tcp = "none"\nlisten_tls = 0\n'
    printf 'listen_tcp = %d\nlisten_addr = "%s"\n' "$([ -n "$net" ] && echo 1 || echo 0)" "${net:+$(net_address "$net")}"
    printf 'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"\n'
  } >"$dir/etc/libvirtd.conf"
  {
    printf 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nstdio_handler = "file"\n'
    printf 'dynamic_ownership = 0\nremember_owner = 0\nnamespaces = [ ]\ncgroup_controllers = [ ]\n'
    [ -z "$net" ] || printf 'migration_address = "0.0.0.0"\nmigration_host = "%s"\n' "$(net_address "$net")"
  } >"$dir/etc/qemu.conf"
}

# What an sshd of this host and its clients need: keys of its own, for this address only.
write_ssh_configuration() {
  local file=$dir/ssh address
  address=$(net_address "$net")
  mkdir -p "$file"
  [ -e "$file/user" ] || ssh-keygen -q -t ed25519 -N '' -C '' -f "$file/user"
  [ -e "$file/host" ] || ssh-keygen -q -t ed25519 -N '' -C '' -f "$file/host"
  printf '%s %s\n' "$address" "$(cat "$file/host.pub")" >"$file/known_hosts"
  # HOME: the start files of the machine's own root are not read. Tests end commands at any moment, also in the middle
  # of such a file, which may leave a lock behind.
  printf '%s\n' "ListenAddress $address" "HostKey $file/host" "AuthorizedKeysFile $file/user.pub" 'StrictModes no' \
    'UsePAM no' 'UseDNS no' 'PasswordAuthentication no' 'PidFile none' 'MaxStartups 100' "SetEnv HOME=$file" >"$file/config"
}

# Which kind of guest runs here: says so, and leaves the word in DIR/accel.
decide_acceleration() {
  "$here/guest.sh" build "$lab/guest"
  if kvm_works "$lab"; then
    echo kvm >"$dir/accel"
    return
  fi
  echo qemu >"$dir/accel"
  [ ! -e /dev/kvm ] || say "KVM cannot run a guest on this machine although /dev/kvm exists: hidden, guests are emulated"
}

start_host() {
  local prefix=() hide=no listen=no name unshare_pid
  [ "$(cat "$dir/accel")" = kvm ] || [ ! -e /dev/kvm ] || hide=yes
  [ -z "$net" ] || prefix=(ip netns exec "$(net_namespace "$net")") listen=yes
  name=ostler-$(cut -c1-8 "$dir/id")
  setsid "${prefix[@]}" unshare --mount --uts --pid --fork --kill-child --mount-proc \
    "$here/host-init.sh" "$dir" "$name" "$hide" "$listen" "${private[@]}" </dev/null >"$dir/log/init.log" 2>&1 &
  unshare_pid=$!
  wait_for 10 found_init "$unshare_pid" ||
    die "the namespaces did not start; see $dir/log/init.log (are we root, and may we unshare?)"
}
# The host's init is the one child of unshare that lives in another pid namespace than we do.
found_init() {
  local child
  # shellcheck disable=SC2013  # numbers, all on one line
  for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
    [ "$(readlink "/proc/$child/ns/pid")" != "$(readlink /proc/self/ns/pid)" ] || continue
    remember "$dir/init.pid" "$child"
    return
  done
  return 1
}

# Takes the host down when its owner has gone without doing so (a test run that was interrupted).
start_watcher() {
  setsid bash -c 'tail --pid="$1" -f /dev/null; exec "$2" down "$3"' watcher "$1" "$here/libvirtd.sh" "$dir" \
    </dev/null >/dev/null 2>&1 &
  remember "$dir/watcher.pid" $!
}

up() {
  local owner= private=() folder
  net=
  while (($#)); do
    case $1 in
      --net) net=${2:?--net needs a number or auto} ;;
      --private) private+=("$(cd "${2:?--private needs a folder}" && pwd)") ;;
      --owner) owner=${2:?--owner needs a pid} ;;
      *) usage >&2 && exit 2 ;;
    esac
    shift 2
  done
  need libvirtd virsh qemu-system-x86_64 qemu-img unshare nsenter ip
  [ -z "$net" ] || need sshd ssh-keygen
  [ "$(id -u)" = 0 ] || die "run me as root: namespaces and mounts need it"
  getent passwd libvirt-qemu >/dev/null || die "the user libvirt-qemu is missing: run scripts/setup as root"
  ((${#dir} + 17 <= 107)) || die "the path $dir is too long for a socket: choose one of 90 bytes at most"
  ! is_up || die "the host in $dir runs already: take it down first with '$0 down $dir'"
  [ -z "$net" ] || take_network
  trap '[ "$?" = 0 ] || down' EXIT
  printf '%s' "$net" >"$dir/net"
  for folder in "${private[@]}"; do mkdir -p "$dir/private$folder"; done
  write_configuration
  [ -z "$net" ] || write_ssh_configuration
  decide_acceleration
  start_host
  [ -z "$owner" ] || recall "$dir/watcher.pid" >/dev/null || start_watcher "$owner"
  wait_answer
  uri
}

# A host that had lost power kept its number.
take_network() {
  local had
  had=$(cat "$dir/net" 2>/dev/null || true)
  if [ -n "$had" ] && { [ "$net" = auto ] || [ "$net" = "$had" ]; }; then
    net=$(net_renew "$had" "$lab")
  else
    net=$(net_claim "$net" "$lab")
  fi
}

gone() { ! is_up; }
# Unplugs the host's network, so that its end is as silent as that of a machine: no peer is told that a connection closed.
# Then it ends every process of the host (they share a pid namespace, its init is enough).
power_off() {
  local pid
  net=$(cat "$dir/net" 2>/dev/null || true)
  [ -z "$net" ] || net_unplug "$net" "$lab"
  if pid=$(host_init); then
    kill -9 "$pid" 2>/dev/null || true
    wait_for 15 gone || die "process $pid (the host's init) does not end: see 'cat /proc/$pid/stack'"
  fi
  rm -f "$dir/init.pid" "$dir/run/libvirt-sock" "$dir/run/libvirt-sock-ro"
}
# ... and then gives its network back and ends its watcher.
down() {
  local pid
  power_off
  [ -z "$net" ] || net_release "$net" "$lab"
  rm -f "$dir/net"
  if pid=$(recall "$dir/watcher.pid"); then
    rm -f "$dir/watcher.pid"
    [ "$pid" = "$$" ] || kill -- "-$pid" 2>/dev/null || true # it leads a process group: itself and its tail
  fi
}
network() {
  must_be_up
  net=$(cat "$dir/net" 2>/dev/null || true)
  [ -n "$net" ] || die "the host in $dir has no network of its own: start it with --net"
  "$1" "$net"
}

stop_daemon() {
  local pid
  must_be_up
  touch "$dir/run/stop-libvirtd"
  pid=$(daemon_pid) || return 0
  inside kill -TERM "$pid" 2>/dev/null || true
  wait_for 15 daemon_is_not "$pid" || die "libvirtd of $dir does not end: see $dir/log/libvirtd.log"
}
start_daemon() {
  must_be_up
  rm -f "$dir/run/stop-libvirtd"
  wait_answer
}
kill_daemon() {
  local pid
  must_be_up
  pid=$(daemon_pid) || die "libvirtd of $dir is not running: start it with '$0 start-daemon $dir'"
  inside kill -9 "$pid"
  wait_for 15 daemon_is_not "$pid" || die "libvirtd of $dir survived kill -9"
  wait_answer
}
kill_qemu() {
  must_be_up
  inside_sh 'p=$(cat "/run/libvirt/qemu/$1.pid" 2>/dev/null) && kill -9 "$p" || exit 1
    for ((i = 0; i < 300; i++)); do kill -0 "$p" 2>/dev/null || exit 0; sleep 0.05; done; exit 2' kill-qemu "$1" ||
    die "could not kill the qemu of domain '$1': is it running? see '$0 virsh $dir list --all'"
}
signal_qemu() {
  must_be_up
  inside_sh 'p=$(cat "/run/libvirt/qemu/$1.pid" 2>/dev/null) && kill "-$2" "$p"' signal-qemu "$1" "$2" ||
    die "could not send $2 to the qemu of domain '$1': is it running? see '$0 virsh $dir list --all'"
}

[ $# -ge 1 ] || { usage >&2 && exit 2; }
command=$1
if [ "$command" = kvm ]; then
  "$here/guest.sh" build "$lab/guest"
  kvm_works "$lab" && say "KVM runs a guest here" && exit 0
  say "KVM does not run a guest here" && exit 1
fi
[ $# -ge 2 ] || { usage >&2 && exit 2; }
mkdir -p "$2" "$lab"
dir=$(cd "$2" && pwd) lab=$(cd "$lab" && pwd)
shift 2
case $command in
  up) up "$@" ;;
  down) down ;;
  kill) power_off ;;
  cut | mend) network "net_$command" ;;
  stop-daemon) stop_daemon ;;
  start-daemon) start_daemon ;;
  restart-daemon) stop_daemon && start_daemon ;;
  kill-daemon) kill_daemon ;;
  kill-qemu) kill_qemu "${1:?kill-qemu needs a domain}" ;;
  freeze-qemu) signal_qemu "${1:?freeze-qemu needs a domain}" STOP ;;
  thaw-qemu) signal_qemu "${1:?thaw-qemu needs a domain}" CONT ;;
  virsh) exec timeout -k 1 30 virsh -q -c "$(uri)" "$@" ;;
  exec) must_be_up && inside "$@" ;;
  uri) uri ;;
  accel) cat "$dir/accel" ;;
  *) usage >&2 && exit 2 ;;
esac
