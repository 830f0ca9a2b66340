# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A patched culprit that is attacked again: each attack hits closer to the buffer, or another object (guests/twice.c).

ask() { timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$1" "echo $2"; }

# What benign requests of each kind are answered.
answers() {
	local kind
	for kind in f n F N; do
		ask "$1" "${kind}hello" && ask "$1" "${kind}012345678901234"
	done
}

overlong() { printf '%s%s' "$1" "$(printf 'A%.0s' {1..40})"; }

# hit PORT KIND N: the attack of this kind is the VM's incident number N, and then is none any more.
hit() {
	ask "$1" "$(overlong "$2")" >"$T/hit"
	check "attack $2: the incident is answered" settled recovered "$3"
	is "attack $2: no failure" "" "$(incident_value "$3" failure)"
	check "attack $2: guard of at most 96 bytes" between 1 96 "$(incident_value "$3" guard_len)"
	is "attack $2: state" running "$(status_value vm state)"
	check "attack $2 again" ask "$1" "$(overlong "$2")"
	is "attack $2 again: no incident" "$3" "$(incident_count)"
}

recovered() { [ "$(incident_value "$1" state)" = recovered ]; }

# attack_closer PROGRAM
attack_closer() {
	local port pid n=0 kind
	port=$(free_port)
	check "the VM starts" protected vm "$1" "$port:$(port_of "$1")"
	pid=$(fact "$port" pid)
	answers "$port" >"$T/before"
	for kind in f n F N; do
		hit "$port" "$kind" $((n += 1))
	done
	answers "$port" >"$T/after"
	is "benign answers" 8 "$(grep -c '^ok ' "$T/after")"
	check "the same answers" same_file before after
	is "the same process" "$pid" "$(fact "$port" pid)"
	is "one culprit" 1 "$(for n in 1 2 3 4; do incident_value $n culprit; done | sort -u | wc -l)"
	is "connections blocked" 0 "$(status_value vm flows_blocked)"
	end vm
}

test_ladder_store() { attack_closer twice; }

test_ladder_call() { attack_closer twice-strcpy; }

# The twin: nothing to be seen.
test_ladder_fixed() {
	local port kind
	port=$(free_port)
	check "the VM starts" protected vm twice-fixed "$port:$(port_of twice-fixed)"
	for kind in f n F N; do
		check "attack $kind" ask "$port" "$(overlong $kind)"
	done
	is "no incident" 0 "$(incident_count)"
	end vm
}

# Without protection each of the four ends the program.
test_ladder_unprotected() {
	local port kind
	for kind in f n F N; do
		port=$(free_port)
		plain_vm plain twice "$port:7020"
		check "the VM starts" wait_line plain '^guest: ready'
		ask "$port" "$(overlong $kind)" >"$T/hit"
		check "the program is gone" wait_line plain '^guest: twice killed by signal'
		stop plain
	done
}
