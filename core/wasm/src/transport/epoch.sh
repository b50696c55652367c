# Holds a call to the highest epoch that this host has seen of its store. It stands before each script that runs something for a call.
# hold_epoch LINE: LINE is "-" for a call without an epoch, else the store, the epoch and the folder.
# Sets "held" to "ok"; to "unkept" if the epoch could not be kept; to "stale SEEN" if a higher one was seen; to "busy" if others keep
# one for too long. With the last two nothing may be run.
# A login that may not write the folder uses its home. The highest number of both counts.
seen_epoch() {
  top=0
  for d in "$folder" ${HOME:+"$HOME/.ostler/epochs"}; do
    s=
    { IFS= read -r s <"$d/$store"; } 2>/dev/null
    case $s in ""|*[!0-9]*|????????????????????*) ;; *) [ "$s" -le "$top" ] || top=$s ;; esac
  done
}
# In a subshell that holds the lock of the folder. The number is durable before anything is run with it.
# Some hosts have no flock, or one that cannot wait; some file systems have no locks.
keep_epoch() {
  command -v flock >/dev/null || exit 1
  tries=0
  until flock -n 8; do
    [ $? = 1 ] || exit 1
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || exit 3
    sleep 0.1 || exit 3
  done
  seen_epoch
  [ "$epoch" -ge "$top" ] || exit 2
  printf "%s\n" "$epoch" >"$at/.$store" && sync -- "$at/.$store" && mv -T -f -- "$at/.$store" "$at/$store" && sync -- "$at" || exit 1
}
hold_epoch() {
  held=ok
  [ "$1" != - ] || return 0
  store=${1%% *} epoch=${1#* }
  folder=${epoch#* } epoch=${epoch%% *}
  seen_epoch
  if [ "$epoch" -eq "$top" ]; then return 0; fi
  for at in "$folder" ${HOME:+"$HOME/.ostler/epochs"}; do
    [ "$epoch" -gt "$top" ] || break
    mkdir -p -- "$at" 2>/dev/null
    [ -d "$at" ] && [ -w "$at" ] || continue
    (keep_epoch) 8<"$at" 2>/dev/null
    case $? in
    0) return 0 ;;
    2) seen_epoch ;;
    3) held=busy; return 0 ;;
    esac
  done
  if [ "$epoch" -lt "$top" ]; then held="stale $top"; else held=unkept; fi
}
