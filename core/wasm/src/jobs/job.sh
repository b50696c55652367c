# Keeps command jobs. Arguments: this script in base64, a verb, the folder of all jobs, the folder of the owner in it, and then as
# the verb says. The first line of the answer is a word.
# A job has a folder. Its files: `turn` is locked while a verb looks at the job; `keeper` is locked as long as the process lives
# that waits for the command; `lock` as long as any process of the job has not closed what it inherited; `go` is written before
# the command begins, and `code` when it has ended. Locks end with their processes, also when the machine is started anew.
script=$1 verb=$2 root=$3 owner=$3/$4 mask=$(umask)
shift 4
umask 077
cd /
say() { printf '%s\n' "$*"; exit 0; }
command -v flock setsid timeout base64 mkfifo >/dev/null || say no-tools
# Whether somebody holds this lock.
held() { ! flock -n 6; } 6<"$1"
# Waits at most 10 s for a lock. Not every flock can wait.
locked() {
  tries=0
  until flock -n "$1"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && sleep 0.1 || return 1
  done
}
# Takes the turn at job $d, or says why not.
turn() {
  exec 7>>"$d/turn"
  locked 7 || say busy
  [ "$d/turn" -ef /proc/self/fd/7 ] || say again
}
# Kills every process that has the job's lock, and their sessions, until the lock is free. Spares the session $1. Tries $2 times.
sweep() {
  n=0
  while held "$d/lock"; do
    [ "$n" -lt "$2" ] || return 1
    n=$((n + 1)) found=" "
    for p in /proc/[0-9]*; do
      for f in "$p"/fd/*; do
        [ "$f" -ef "$d/lock" ] || continue
        of=$(session "$p")
        case $of in "$1" | "" | 0) break ;; esac
        found="$found$of "
        kill -s KILL "${p#/proc/}"
        break
      done
    done
    for p in /proc/[0-9]*; do
      of=$(session "$p")
      case $found in *" ${of:-none} "*) kill -s KILL "${p#/proc/}" ;; esac
    done
    sleep 0.1
  done
} 2>/dev/null
# The session of a process: the fourth word after its name.
session() { IFS= read -r s <"$1/stat" && s=${s##*) } && s=${s#* * * } && printf %s "${s%% *}"; }
# Tells of job $d. A job whose keeper is gone and that has no result is ended, whatever is left of it.
state() {
  [ -f "$d/go" ] || say absent
  if held "$d/keeper"; then
    begun=$(cat "$d/begun")
    printf 'running %s\n' "$(($(date +%s) - begun))"
    tail -c 4096 "$d/out" | base64 -w 0; echo
    tail -c 4096 "$d/err" | base64 -w 0; echo
  elif [ "$(cat "$d/boot")" != "$(cat /proc/sys/kernel/random/boot_id)" ]; then
    # The output of the command may not have reached the disk, also if it had ended.
    say lost restarted
  elif [ -s "$d/code" ]; then
    IFS= read -r code <"$d/code"
    case $code in over*) sweep "$(session /proc/$$)" 40 || say stuck ;; esac
    printf 'ended %s\n' "$code"
    base64 -w 0 <"$d/out"; echo
    base64 -w 0 <"$d/err"; echo
  else
    sweep "$(session /proc/$$)" 40 || say stuck
    say lost keeper
  fi
}
# Keeps the first $1 bytes in file $2, and tells whether there were more.
take() {
  $unbuffered head -c "$1" >"$2"
  [ "$(head -c 1 | wc -c)" = 0 ] || { : >"$2.cut"; cat >/dev/null; }
  : >"$2.end"
}
case $verb in
# NAME EFFECT VM ABOUT WHAT, where WHAT is a digest of the command, and VM is the VM of one store: makes the folder of a job, unless it is there. Removes jobs that are over: those of other effects of the VM,
# and old ones.
prepare)
  d=$owner/$1
  mkdir -p "$owner" || say no-folder
  exec 5>>"$owner/turn"
  locked 5 || say busy
  if [ -d "$d" ]; then
    # A job of another command has this name: it is of a daemon with a copy of the store.
    [ "$(cat "$d/what")" != "$5" ] || say ready
    turn
    sweep "$(session /proc/$$)" 40 || say stuck
    rm -rf "$d"
  fi
  all=0 alike=0 running=0
  for j in "$owner"/*/; do
    j=${j%/} name=${j%/} name=${name##*/}
    [ -d "$j" ] || continue
    all=$((all + 1))
    case $name in "$2".*) alike=$((alike + 1)) ;; esac
    if [ -f "$j/go" ] && { held "$j/keeper" || { [ ! -s "$j/code" ] && held "$j/lock"; }; }; then running=$((running + 1)); continue; fi
    case $name in
    "$2".*) old=$(find "$j" -maxdepth 0 -mtime +3) ;;
    "$3".*) old=$j ;;
    *) old=$(find "$j" -maxdepth 0 -mtime +3) ;;
    esac
    [ -z "$old" ] || rm -rf "$j"
  done
  [ "$running" -lt 16 ] && [ "$alike" -lt 64 ] && [ "$all" -lt 1024 ] || say full
  mkdir "$d" && printf '%s\n' "$4" >"$d/about" && printf '%s\n' "$5" >"$d/what" && : >"$d/turn" && : >"$d/keeper" && : >"$d/lock" || say no-folder
  say ready
  ;;
# NAME SECONDS OUT ERR LENGTH PROGRAM ARGUMENT...: begins a job, or tells of it. Standard input: that of the command.
start)
  d=$owner/$1
  [ -d "$d" ] || say again
  turn
  # It is told by another verb: this one is confined, and cannot end what is left of a job.
  [ ! -f "$d/go" ] || say there
  [ -f "$6" ] && [ -x "$6" ] || { rm -rf "$d"; say no-program; }
  exec 8>>"$d/keeper" 9>>"$d/lock"
  { flock -n 8 && flock -n 9; } || say busy
  in=$(base64 -w 0)
  [ "${#in}" = "$5" ] || say again
  again='eval "$(printf %s "$1" | base64 -d)"'
  rm -f "$d/s" && mkfifo "$d/s" || say no-folder
  printf %s "$in" 7>&- 8>&- 9>&- | setsid /bin/sh -c "$again" ostler-job "$script" keep "$root" "${owner##*/}" "$mask" "$@" 7>&- 5>&- >"$d/s" &
  exec 8>&- 9>&-
  IFS= read -r said <"$d/s"
  [ "$said" = ok ] || say failed
  state
  ;;
# The same arguments: waits for the command. It has a session of its own, and its only tie to anybody else is standard output,
# until it has said that it begins.
keep)
  mask=$1
  shift
  d=$owner/$1 limit=$2 outs=$3 errs=$4 length=$5
  shift 5
  in=$(cat)
  [ "${#in}" = "$length" ] || exit 0
  unbuffered=
  ! command -v stdbuf >/dev/null || unbuffered='stdbuf -o0'
  rm -f "$d/o" "$d/e" "$d/h"
  mkfifo "$d/o" "$d/e" "$d/h" && : >"$d/out" && : >"$d/err" || exit 0
  cat /proc/sys/kernel/random/boot_id >"$d/boot" && date +%s >"$d/begun" || exit 0
  sync "$d/boot" "$d/begun" && : >"$d/go" && sync "$d" || exit 0
  echo ok
  exec >/dev/null 2>&1 </dev/null 6<>"$d/h"
  # In braces: a shell keeps copies of what it closes for a function.
  { take "$outs" "$d/out"; } <"$d/o" 6>&- 8>&- 9>&- &
  { take "$errs" "$d/err"; } <"$d/e" 6>&- 8>&- 9>&- &
  path=PATH=/usr/sbin:/usr/bin:/sbin:/bin
  if [ -z "$in" ]; then
    (umask "$mask"; exec setsid env -i LC_ALL=C "$path" "$@") </dev/null >"$d/o" 2>"$d/e" 6>&- 8>&- &
  else
    printf %s "$in" 6>&- 8>&- 9>&- | base64 -d 6>&- 8>&- 9>&- | (umask "$mask"; exec setsid env -i LC_ALL=C "$path" "$@") >"$d/o" 2>"$d/e" 6>&- 8>&- &
  fi
  pid=$! in=
  # Ends at once when the keeper does, because only the keeper writes to that pipe.
  { timeout "$limit" cat; [ $? != 124 ] || { : >"$d/over"; kill -s KILL -- "-$pid" "$pid"; }; } <"$d/h" 6>&- 8>&- 9>&- &
  wait "$pid"
  code=$?
  kill -s KILL -- "-$pid"
  [ ! -f "$d/over" ] || sweep "$$" 1
  n=0
  until [ -f "$d/out.end" ] && [ -f "$d/err.end" ]; do
    [ "$n" -lt 40 ] || break
    n=$((n + 1))
    sleep 0.05
  done
  cut=0
  # Output that did not come in time is missing.
  [ -f "$d/out.end" ] && [ -f "$d/err.end" ] || cut=1
  [ ! -f "$d/out.cut" ] && [ ! -f "$d/err.cut" ] || cut=1
  [ ! -f "$d/over" ] || code=over
  printf '%s %s\n' "$code" "$cut" >"$d/code.new" && sync "$d/code.new" "$d/out" "$d/err" && mv -f "$d/code.new" "$d/code" && sync "$d"
  trap '' TERM
  kill -s TERM 0
  exit 0
  ;;
# NAME: tells of a job.
poll)
  d=$owner/$1
  [ -d "$d" ] || say absent
  turn
  state
  ;;
# NAME: ends a job, and forgets it. Tells how it had ended before.
stop)
  d=$owner/$1
  [ -d "$d" ] || say absent
  turn
  [ -f "$d/go" ] || { rm -rf "$d"; say absent; }
  ran=
  ! held "$d/keeper" || ran=1
  # Processes that a command left when it ended by itself, a guest for example, are not of the job.
  if [ -n "$ran" ] || [ ! -s "$d/code" ]; then sweep "$(session /proc/$$)" 40 || say stuck; fi
  if [ -n "$ran" ] && [ ! -s "$d/code" ]; then echo absent; else (state); fi
  rm -rf "$d"
  ;;
# EFFECT VM: ends all jobs of the VM but those of the effect.
settle)
  for d in "$owner/$2".*; do
    case ${d##*/} in "$1".*) continue ;; esac
    [ -f "$d/go" ] && [ ! -s "$d/code" ] || continue
    turn
    sweep "$(session /proc/$$)" 40 || say stuck
    [ -s "$d/code" ] || rm -rf "$d"
  done
  say settled
  ;;
# Names the jobs at work.
list)
  echo listed
  for j in "$owner"/*/; do
    j=${j%/}
    [ -f "$j/go" ] || continue
    # A job whose keeper was killed has nobody who ends it in time.
    if ! held "$j/keeper" && [ ! -s "$j/code" ]; then d=$j; sweep "$(session /proc/$$)" 40; fi
    if held "$j/keeper" || { [ ! -s "$j/code" ] && held "$j/lock"; }; then printf '%s\n' "${j##*/}"; fi
  done
  ;;
esac
