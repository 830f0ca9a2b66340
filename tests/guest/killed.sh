# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # pid_of is of lib.sh
# Supervisors that are killed while their guest writes to its disk: the next one of the same name starts from that disk, on
# which nothing is missing that was answered, and has nothing to be told or cleaned up.

# shellcheck source=tests/guest/ledger.sh
. "$here/ledger.sh"

# fresh_lines: what the ledger on the disk has of this round, in "$T/fresh", read from a copy whose file system's journal was
# replayed, as the next mount does. 1: the file system needs more than that, or a number is there twice.
fresh_lines() {
	local image
	image=$(content disk) && cp "$image" "$T/copy" || return
	e2fsck -fp "$T/copy" >"$T/copy.fsck" 2>&1
	[ $? -le 1 ] && e2fsck -fn "$T/copy" >>"$T/copy.fsck" 2>&1 || { cat "$T/copy.fsck" && return 1; }
	debugfs -R "cat /ledger" "$T/copy" 2>/dev/null >"$T/all"
	cut -d ' ' -f 1 "$T/all" | sort -ncu || { cat "$T/all" && return 1; }
	tail -n +$((lines_before + 1)) "$T/all" | cut -d ' ' -f 2- >"$T/fresh"
	lines_before=$(wc -l <"$T/all")
}

# right_lines AT-LEAST OTHERS: the fresh lines begin as the requests do, so many or more; behind them are at most so many others.
right_lines() {
	local n same
	n=$(wc -l <"$T/fresh")
	same=$(paste -d '\n' "$T/expected" "$T/fresh" | awk 'NR % 2 { want = $0; next } $0 != want { exit } { n++ } END { print n + 0 }')
	[ "$same" -ge "$1" ] && [ $((n - same)) -le "$2" ] && return
	echo "wanted the first $1 requests or more, and at most $2 others, got $same and $((n - same)):"
	cat "$T/fresh"
	return 1
}

# after_lines N FILE PID: waits until the file has so many lines, or the process has ended.
after_lines() {
	grep -q -m 1 . < <(timeout "$LIMIT" tail -n +"$1" -f -s 0.05 --pid="$3" "$T/$2" 2>/dev/null)
}

# A moment: up to so many milliseconds, to end somewhere within what was begun.
a_moment() { read -r -t "$(printf '0.%03d' $((RANDOM % $1)))" <> <(:) || true; }

kill_supervisor() {
	kill -KILL "${pid_of[vm]}"
	wait_end vm
	wait
}

# So that what is there now is there when it is killed.
hold_supervisor() {
	kill -STOP "${pid_of[vm]}"
	until grep -qE '^State:.*(stopped|zombie)' "/proc/${pid_of[vm]}/status"; do :; done
}

# The three ways to be killed. ANSWERED: how many requests must be on the disk, OTHERS: how many may be that are not of
# those.
killed_under_load() {
	local client
	: >"$T/answers"
	benign "$port" 100 answers &
	client=$!
	after_lines $((RANDOM % 60 + 1)) answers "$client"
	kill_supervisor
	ANSWERED=$(wc -l <"$T/answers") OTHERS=0
	[ "$ANSWERED" -gt 0 ]
}

killed_in_rollback() {
	local i client
	benign "$port" 10 answers || return
	ANSWERED=10
	for ((i = 0; i < 10; i++)); do
		# They begin with the first again. What a rollback took too little time for stays, up to the newest checkpoint.
		OTHERS=$((30 * (i + 1)))
		"$CLOUDER" checkpoint vm >/dev/null && benign "$port" 30 more || return
		"$CLOUDER" rollback vm --drop >"$T/rollback" 2>&1 &
		client=$!
		# The journal has its name while the disk is written and synchronized: too short to start a program in.
		while [ ! -e "$T/disk.clouder-rollback" ] && kill -0 "$client" 2>/dev/null; do :; done
		hold_supervisor
		[ ! -e "$T/disk.clouder-rollback" ] || break
		kill -CONT "${pid_of[vm]}"
		wait "$client" || return
	done
	kill_supervisor
	[ -e "$T/disk.clouder-rollback" ]
}

killed_in_response() {
	local status=0
	benign "$port" 10 answers && "$CLOUDER" checkpoint vm >/dev/null || return
	# The exploit asks something first.
	ANSWERED=10 OTHERS=2
	exploit "$port" fig2-ledger attack &
	after_lines 1 vm.out "${pid_of[vm]}" || status=1
	a_moment 100
	kill_supervisor
	return "$status"
}

# Whether all incidents so far can be read, also the one in whose middle the supervisor was killed.
incidents_readable() {
	local id
	"$CLOUDER" incidents --json >"$T/incidents" || return
	for id in $(sed -n 's/^ *"id": *\([0-9]*\).*/\1/p' "$T/incidents"); do
		"$CLOUDER" show "$id" --json >/dev/null || return
	done
}

# KILLS: how many times (3).
test_disk_supervisor_killed() { disk_supervisor_killed raw; }
test_disk_supervisor_killed_qcow2() { disk_supervisor_killed qcow2; }

disk_supervisor_killed() {
	local ways=(killed_in_rollback killed_in_response killed_under_load) port i way finished=0 lines_before=0 ANSWERED=0 OTHERS=0
	local disk=disk,format=$1
	make_disk disk "$1"
	for ((i = 0; i <= ${KILLS:-3}; i++)); do
		way=${ways[i % 3]}
		port=$(free_port)
		# What an attack before has left would make this one harmless.
		check "$i: the host has no patches" forget_patches || return
		check "$i: the VM starts" on_disk vm "$port" "$disk" || return
		if [ "$i" -eq 0 ]; then
			# Without a kill: what the requests are.
			check "$i: benign requests" benign "$port" 100 answers
			quit vm "$port"
			check "$i: the ledger is whole" fresh_lines
			mv "$T/fresh" "$T/expected"
			is "$i: lines" 100 "$(wc -l <"$T/expected")"
			continue
		fi
		check "$i: $way" "$way"
		check "$i: no process is left" settled no_engines
		if [ -e "$T/disk.clouder-rollback" ]; then
			finished=$((finished + 1))
			check "$i: the next supervisor starts" on_disk vm "$(free_port)" "$disk" || return
			check "$i: it finishes the rollback" grep -q 'that is finished now' "$T/vm.log"
			end vm
		fi
		check "$i: the disk is whole" fresh_lines
		check "$i: what was answered is on it" right_lines "$ANSWERED" "$OTHERS"
		check "$i: the incidents are whole" incidents_readable
	done
	port=$(free_port)
	check "the last VM starts" on_disk vm "$port" "$disk"
	check "benign requests" benign "$port" 6 answers
	quit vm "$port"
	check "nothing is beside the disk" [ ! -e "$T/disk.clouder-rollback" ]
	check "the file system is whole" fsck disk
	echo "note: $finished rollbacks were finished by the next supervisor"
}
