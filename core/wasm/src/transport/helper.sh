# Runs one command in its own session and ends it, with all it started, when standard input ends or its lease is over.
# Standard input: a tag, the seconds of the lease ("0" for none), the epoch (see hold_epoch), the number of arguments, one argument a
# line, the input in base64 ("" none, "-" what follows), the limits of its processes (options of ulimit with their values), then one dot
# after the other. Each dot renews the lease. Without a lease there are none.
# The last line of standard error is the tag and the exit code, or "no-program", "no-timeout", "stale SEEN" or "busy": without it the
# connection was lost. After an exit code stands "unkept" if the epoch could not be kept.
IFS= read -r tag && IFS= read -r lease && IFS= read -r charge && IFS= read -r n || exit 125
set --
while [ "$n" -gt 0 ]; do IFS= read -r a || exit 125; set -- "$@" "$a"; n=$((n - 1)); done
IFS= read -r in && IFS= read -r limits || exit 125
# A limit that is lower already stays. Some shells have another letter for processes.
for l in $limits; do o=${l%%=*}; ulimit "-$o" "${l#*=}" 2>/dev/null || [ "$o" != p ] || ulimit -u "${l#*=}" 2>/dev/null; done
[ -f "$1" ] && [ -x "$1" ] || { printf "\n%s no-program\n" "$tag" >&2; exit 0; }
[ "$lease" = 0 ] || command -v timeout >/dev/null || { printf "\n%s no-timeout\n" "$tag" >&2; exit 0; }
hold_epoch "$charge"
case $held in stale*|busy) printf "\n%s %s\n" "$tag" "$held" >&2; exit 0 ;; esac
# Returns when standard input has ended, or when no dot came for as long as the lease lasts.
watch() {
  if [ "$lease" = 0 ]; then cat; else while [ "$(timeout "$lease" head -c 1)" = . ]; do :; done; fi
}
exec 3<&0 </dev/null
p=PATH=/usr/sbin:/usr/bin:/sbin:/bin
case $in in
"") setsid env -i LC_ALL=C "$p" "$@" </dev/null 3<&- & ;;
-) setsid env -i LC_ALL=C "$p" "$@" <&3 3<&- & ;;
*) printf %s "$in" | base64 -d | setsid env -i LC_ALL=C "$p" "$@" 3<&- & ;;
esac
pid=$!
watcher=
# The process itself, too: it may not have its own session yet.
[ "$in" = - ] || { { watch <&3; kill -s KILL -- "-$pid" "$pid"; } >/dev/null 2>&1 & watcher=$!; }
wait "$pid"
code=$?
{ [ -z "$watcher" ] || kill "$watcher"; kill -s KILL -- "-$pid"; } >/dev/null 2>&1
[ "$held" = ok ] || code="$code $held"
printf "\n%s %s\n" "$tag" "$code" >&2
exit 0
