# Runs one command in its own session and ends it, with all it started, when standard input ends.
# Standard input: a tag, the number of arguments, one argument a line, the input in base64 ("" none, "-" what follows), then silence.
# The last line of standard error is the tag and the exit code, or "no-program": without it the connection was lost.
IFS= read -r tag && IFS= read -r n || exit 125
set --
while [ "$n" -gt 0 ]; do IFS= read -r a || exit 125; set -- "$@" "$a"; n=$((n - 1)); done
IFS= read -r in || exit 125
[ -f "$1" ] && [ -x "$1" ] || { printf "\n%s no-program\n" "$tag" >&2; exit 0; }
exec 3<&0 </dev/null
p=PATH=/usr/sbin:/usr/bin:/sbin:/bin
case $in in
"") setsid env -i LC_ALL=C "$p" "$@" </dev/null 3<&- & ;;
-) setsid env -i LC_ALL=C "$p" "$@" <&3 3<&- & ;;
*) printf %s "$in" | base64 -d | setsid env -i LC_ALL=C "$p" "$@" 3<&- & ;;
esac
pid=$!
watch=
[ "$in" = - ] || { { cat <&3; kill -s KILL -- "-$pid"; } >/dev/null 2>&1 & watch=$!; }
wait "$pid"
code=$?
{ [ -z "$watch" ] || kill "$watch"; kill -s KILL -- "-$pid"; } >/dev/null 2>&1
printf "\n%s %s\n" "$tag" "$code" >&2
exit 0
