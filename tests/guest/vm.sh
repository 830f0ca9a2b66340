# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the guest tests share beyond tests/lib/lib.sh: VMs under CloudER, the drivers, and the true culprit.
#
# Output of a VM NAME: $T/NAME.out (incidents), $T/NAME.log (messages), $T/NAME.console (the guest's).

# shellcheck source=tests/lib/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/lib.sh"

CLOUDER=$TOP/${BUILD:-build}/clouder

# Runs a command in the background as NAME, its output and its messages apart.
launch_as() {
	local name=$1
	shift
	: >"$T/$name.out"
	: >"$T/$name.log"
	"$@" </dev/null >"$T/$name.out" 2>"$T/$name.log" &
	pid_of[$name]=$!
}

# The arguments of a guest with services RUN, in the array QEMU_ARGS; its console is CloudER's business. IMAGE and KERNEL may
# name others than the usual ones.
qemu_args() {
	QEMU_ARGS=(-m 512 -nodefaults -no-reboot -kernel "$GUEST/${KERNEL:-vmlinuz}" -initrd "$GUEST/${IMAGE:-initrd.img}"
		-append "console=ttyS0 quiet panic=-1 clouder.run=$1" ${CPU:+-cpu "$CPU"})
}

# protected NAME RUN "HOST:GUEST ..." [OPTION...]: a VM under CloudER with services RUN, waited for; 1: not ready.
protected() {
	local name=$1 net
	qemu_args "$2"
	net=user$(forwards "$3")
	: >"$T/$name.console"
	launch_as "$name" "$CLOUDER" run --name "$name" --console "$T/$name.console" --net "$net" "${@:4}" -- \
		"${QEMU_ARGS[@]}"
	wait_ready "$name"
}

# in_guest FILE SCRIPT: runs a script in the guest's shell (vmilab, at port[vmilab]), what it prints goes to a file.
in_guest() {
	local connection
	exec {connection}<>"/dev/tcp/127.0.0.1/${port[vmilab]}" || return
	printf '%s\nexit\n' "$2" >&"$connection"
	timeout "$LIMIT" cat <&"$connection" >"$T/$1"
	exec {connection}>&-
}

# wait_console NAME REGEX: waits for a line of the guest's console.
wait_console() {
	grep -a -m 1 -qE -- "$2" \
		< <(timeout "$LIMIT" tail -n +1 -f -s 0.1 --pid="${pid_of[$1]}" "$T/$1.console" 2>/dev/null)
}

wait_ready() {
	wait_console "$1" '^guest: (ready|not all services run)' && grep -aq '^guest: ready' "$T/$1.console" && return
	cat "$T/$1.log" "$T/$1.console"
	return 1
}

# Port in the guest of one of its programs.
port_of() {
	awk -v name="$1" '$1 == "guest" && $2 == name { print $3 }' "$TOP/guests/programs.txt"
}

# benign PORT COUNT FILE: requests with seed 1, the answers to FILE; fails on a wrong one.
benign() {
	timeout "$LIMIT" "$GUEST/benign" "127.0.0.1:$1" 1 "$2" >"$T/$3" || return 1
	[ "$(wc -l <"$T/$3")" -eq "$2" ]
}

same_file() { cmp "$T/$1" "$T/$2"; }

# exploit PORT PROGRAM FILE [--crash]: what the exploit says goes to FILE. 0: owned.
exploit() {
	timeout "$LIMIT" "$GUEST/exploit-fig2" "127.0.0.1:$1" --binary "$GUEST/bin/$2" "${@:4}" >"$T/$3" 2>&1
}

owned() { exploit "$@" && grep -qx owned "$T/$3"; }

# The exploit was made, and did not succeed.
not_owned() {
	local status=0
	exploit "$@" || status=$?
	[ "$status" -eq 1 ] && grep -q '^sending' "$T/$3" && ! grep -q '^came back: OWNED' "$T/$3" && return
	echo "exit code $status:"
	cat "$T/$3"
	return 1
}

service_answered() { grep -q '^came back: ok ' "$T/$1" || { cat "$T/$1" && return 1; }; }

fact() {
	timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$1" facts | tr ' ' '\n' | sed -n "s/^$2=//p"
}

# Of JSON with a member a line, as --json prints it: the value of a name.
json_value() {
	sed -n "s/^ *\"$1\": *//p" | sed 's/,$//; s/^"//; s/"$//' | head -n 1
}

incident_count() {
	"$CLOUDER" incidents --json | grep -c '^ *"id":'
}

# tell_incidents [AFTER]: what is known of each, for whoever reads of a failure.
tell_incidents() {
	local id
	for ((id = ${1:-0} + 1; id <= $(incident_count); id++)); do
		"$CLOUDER" show "$id"
	done
}

patch_ids() { "$CLOUDER" patch list --json | sed -n 's/^ *"id": \([0-9]*\),/\1/p'; }

# All are reverted, as for the next VM to be one of a host that has no patches: the newest first, which may be made over others.
forget_patches() {
	local -a active
	mapfile -t active < <("$CLOUDER" patch list | awk '$4 == "active" { print $1 }' | sort -rn)
	[ "${#active[@]}" -eq 0 ] || "$CLOUDER" patch revert "${active[@]}" >"$T/revert"
}

# incident_value ID NAME, status_value VM NAME
incident_value() { "$CLOUDER" show "$1" --json | json_value "$2"; }
status_value() { "$CLOUDER" status "$1" --json | json_value "$2"; }

# is TEXT WANTED GOT: a check of two values.
is() {
	if [ "$2" = "$3" ]; then passes "$1"; else fails "$1: wanted \"$2\", got \"$3\""; fi
}

# between LOW HIGH NUMBER
between() {
	[ -n "$3" ] && [ "$1" -le "$3" ] && [ "$3" -le "$2" ]
}

# wait_incident NAME [N]: waits until N (1) incidents of a VM have been answered.
wait_incident() {
	local log=$1 wanted=${2:-1} seen
	seen=$(grep -a -m "$wanted" -cE '\] (RECOVERED|CONTAINED|PROPOSED|FAILED|observed|OBSERVED)' \
		< <(timeout "$LIMIT" tail -n +1 -f -s 0.1 --pid="${pid_of[$log]}" "$T/$log.out" 2>/dev/null))
	[ "$seen" -eq "$wanted" ]
}

# The store in the copy loop of a program, addresses one a line, as the disassembler sees it with the symbol table at
# hand. CloudER is never shown these: its guest has the stripped program.
true_culprits() {
	local function=answer
	[[ $1 != *helper* ]] || function=copy
	objdump -d --no-show-raw-insn --disassemble="$function" "$GUEST/bin/$1" |
		sed -nE 's/^ +([0-9a-f]+):\tmov +%([abcd]l|sil|dil|r[0-9]+b),.*\(.*/0x\1/p'
}

# settled COMMAND...: until the command succeeds; a process that was told to end needs a moment for it.
settled() {
	local last=$((SECONDS + 30))
	while [ "$SECONDS" -lt "$last" ]; do
		"$@" >/dev/null && return
		read -r -t 0.2 <> <(:) || true
	done
	"$@"
}

# in_slices COMMAND ALL EACH: "COMMAND SEED EACH" until that is ALL, by CLIENTS at a time, as long as vm runs.
in_slices() {
	local n i ended clients=${CLIENTS:-8}
	local -A running=()
	for ((n = 0, i = 1; n < $2; n += $3, i++)); do
		if [ "${#running[@]}" -eq "$clients" ]; then
			wait -n -p ended "${!running[@]}"
			unset "running[$ended]"
		fi
		"$1" "$i" "$3" &
		running[$!]=1
		((i % clients)) || [ "$(status_value vm state)" = running ] || break
	done
	wait "${!running[@]}"
}

nothing_died() { ! grep -aE '^guest: .* (killed|exited)' "$T/$1.console"; }

# Benign requests were answered rightly ("$T/wrong" has what was not) and taken for nothing else.
no_alarm() {
	is "wrong or missing answers" "" "$(cat "$T/wrong" 2>/dev/null)"
	is "state" running "$(status_value vm state)"
	is "detections" 0 "$(status_value vm detections)"
	is "incidents" 0 "$(incident_count)"
	check "nothing died" nothing_died vm
}

# end VM: by `clouder stop`; its supervisor must end well.
end() {
	check "'clouder stop $1'" "$CLOUDER" stop "$1"
	check "the supervisor of $1 ends with 0" wait_end "$1"
}

# another_engine VM PID: one that is not PID carries the VM.
another_engine() {
	local pid
	pid=$(status_value "$1" engine_pid)
	[ -n "$pid" ] && [ "$pid" -ne "$2" ] && [ "$pid" -ne 0 ]
}

# kill_under_load PORT COUNT FILE: requests, in the midst of which the engine is killed; they are answered all the same.
kill_under_load() {
	local requests engine
	engine=$(status_value vm engine_pid)
	benign "$1" "$2" "$3" &
	requests=$!
	# Some have come and gone, more are to come.
	grep -q -m 1 . < <(timeout "$LIMIT" tail -n +$((RANDOM % 20 + 1)) -f -s 0.005 --pid=$requests "$T/$3" 2>/dev/null)
	kill -KILL "$engine" && wait "$requests" && settled another_engine vm "$engine"
}

# Of the engines that wait.
standby_pids() {
	"$CLOUDER" status "$1" --json | tr -d ' \n' | grep -o '"standby_pids":\[[0-9,]*\]' | grep -o '[0-9]*'
}

no_engines() {
	! left_over | grep '^process'
}

# one_line FILE REGEX: the messages are one line, and it is this.
one_line() {
	[ "$(wc -l <"$1")" -eq 1 ] && grep -qE -- "$2" "$1" && return
	echo "wanted one line with /$2/, got:"
	cat "$1"
	return 1
}

# begin_rounds NAME COMMAND...: a client that prints "round N" for each round of what it does, until its input ends (end_rounds).
# Output in "$T/NAME.out". One at a time.
begin_rounds() {
	: >"$T/$1.out"
	mkfifo "$T/$1.hold"
	"${@:2}" <"$T/$1.hold" >"$T/$1.out" 2>"$T/$1.err" &
	pid_of[$1]=$!
	exec {HOLD}>"$T/$1.hold"
	rounds_go_on "$1"
}

# Two rounds more: one that began now at the earliest is over.
rounds_go_on() {
	local next=$(($(grep -c '^round' "$T/$1.out") + 2))
	grep -q -m 1 "^round $next\$" < <(timeout "$LIMIT" tail -n +1 -f -s 0.1 --pid="${pid_of[$1]}" "$T/$1.out") && return
	cat "$T/$1.err"
	return 1
}

end_rounds() {
	exec {HOLD}>&-
	wait "${pid_of[$1]}" && return
	cat "$T/$1.err"
	return 1
}

# crowd_load PORT...: rounds of several clients at each, who come anew all the time, until its input ends. 1: one was not answered rightly.
crowd_load() {
	local n=0 i at status=1
	while [ "$status" -ne 1 ] || [ "$n" -eq 0 ]; do
		for at in "$@"; do
			for i in 1 2 3; do
				benign "$at" 14 "load.$at.$i" || echo "port $at, client $i: wrong or missing answers" >>"$T/load.wrong" &
			done
		done
		wait
		[ ! -s "$T/load.wrong" ] || { cat "$T/load.wrong" >&2 && return 1; }
		n=$((n + 1))
		echo "round $n"
		read -r -t 0.05 i
		status=$?
	done
}
