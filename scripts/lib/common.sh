# shellcheck shell=bash
# Helpers shared by the project's scripts. Source it; it starts nothing by itself.
#
#   say TEXT...              one plain line for the person who watches
#   die TEXT...              the same on stderr, then exit 1
#   now_ms                   milliseconds of the monotonic clock
#   wait_for SECONDS CMD...  run CMD until it succeeds; return 1 when SECONDS are over
#   retry TIMES CMD...       run CMD until it succeeds, at most TIMES times, pausing a little longer each time
shopt -s inherit_errexit # a failure inside $(...) counts as well

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() { printf '%s: error: %s\n' "${0##*/}" "$*" >&2; exit 1; }

now_ms() {
  local up
  read -r up _ </proc/uptime
  printf '%s\n' "$((10#${up/./} * 10))"
}

wait_for() {
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@"; do
    (($(now_ms) < end)) || return 1
    sleep 0.05
  done
}

retry() {
  local times=$1 try
  shift
  for ((try = 1; try <= times; try++)); do
    "$@" && return 0
    ((try == times)) || { say "try $try of $times failed, again in $((try * 2)) s: $*"; sleep $((try * 2)); }
  done
  return 1
}

# need COMMAND... : stop with advice unless every command is there.
need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null || die "the command '$command' is missing: run scripts/setup as root"
  done
}
