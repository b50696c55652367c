# shellcheck shell=bash
# The network of lab hosts started with --net. Source it behind scripts/lib/common.sh. N is a host's number, 1 to 99.
#
#   bridge ostbr0, 10.77.0.0/24   hosts: eth0 of host N has 10.77.0.N (libvirt over tcp, migration); the machine has .254
#   bridge ostgbr0, 10.88.0.0/24  guests: bridge br0 inside each host is joined to it; the machine has .254
#
#   net_claim N|auto LAB   make the network of host N (or of the first free number) and print N
#   net_renew N LAB        make it anew for a host that had lost power; the number was its own all the time
#   net_unplug N LAB       the host loses power: nobody answers there, yet nobody else gets the number
#   net_release N LAB      remove it, and the bridges with the last host
#   net_cut N              the cable to 10.77.0.N is cut: nothing comes or goes, nothing is refused; guests keep their network
#   net_mend N             ... and is whole again
#   net_address N          net_namespace N

net_address() { printf '10.77.0.%d\n' "$1"; }
net_namespace() { printf 'osth%d\n' "$1"; }

net_bridge() { # NAME ADDRESS
  ip link show "$1" >/dev/null 2>&1 && return
  ip link add "$1" type bridge && ip addr add "$2" dev "$1" && ip link set "$1" up
}

# Runs the rest under the lock of the lab in LAB.
net_locked() ( # LAB COMMAND...
  exec 7>"$1/net.lock"
  flock -w 60 7 || die "the lab's network has been locked for a minute: see 'fuser $1/net.lock'"
  shift
  "$@"
)

net_claim() { net_locked "$2" net_make "$1"; }
net_renew() { net_locked "$2" net_remake "$1"; }
net_unplug() { net_locked "$2" net_remove_links "$1"; }
net_release() { net_locked "$2" net_remove "$1"; }

net_make() {
  local wanted=$1 numbers n
  if [ "$wanted" = auto ]; then numbers=$(seq 99); else numbers=$wanted; fi
  for n in $numbers; do
    [[ $n =~ ^[1-9][0-9]?$ ]] || die "--net takes a number from 1 to 99, or auto; not '$n'"
    ip netns add "$(net_namespace "$n")" 2>/dev/null || continue # the name is the claim
    net_join "$n" || { net_remove "$n" && die "could not join host $n to the lab's bridges: see 'ip -br link'"; }
    printf '%s\n' "$n"
    return
  done
  die "host number $wanted is in use: take that host down, or ask for --net auto"
}

net_remake() {
  net_remove "$1"
  net_make "$1"
}

net_join() { # N; -e does not hold in here, for the caller asks how it went
  local ns
  ns=$(net_namespace "$1")
  # A fixed address of the card: with a new one at each start, neighbours keep the old one for a minute.
  net_bridge ostbr0 10.77.0.254/24 &&
    net_bridge ostgbr0 10.88.0.254/24 &&
    ip link add "ostv$1" type veth peer name eth0 address "02:77:00:00:00:$(printf %02x "$1")" netns "$ns" &&
    ip link set "ostv$1" master ostbr0 up &&
    ip link add "ostg$1" type veth peer name eth1 netns "$ns" &&
    ip link set "ostg$1" master ostgbr0 up &&
    ip -n "$ns" link set lo up &&
    ip -n "$ns" addr add "$(net_address "$1")/24" dev eth0 &&
    ip -n "$ns" link set eth0 up &&
    ip -n "$ns" link add br0 type bridge &&
    ip -n "$ns" link set eth1 master br0 up &&
    ip -n "$ns" link set br0 up &&
    # That nobody answered at this address before is forgotten, or the first connection would wait for it to be.
    ip neigh flush dev ostbr0 to "$(net_address "$1")"
}

net_remove_links() {
  ip link del "ostv$1" 2>/dev/null || true
  ip link del "ostg$1" 2>/dev/null || true
}

net_remove() {
  local bridge
  net_remove_links "$1"
  ip netns del "$(net_namespace "$1")" 2>/dev/null || true
  for bridge in ostbr0 ostgbr0; do
    [ -n "$(ip -o link show master "$bridge" 2>/dev/null)" ] || ip link del "$bridge" 2>/dev/null || true
  done
}

net_cut() { ip link set "ostv$1" down; }
net_mend() { ip link set "ostv$1" up; }
