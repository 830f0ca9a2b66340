# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The main job: a program in the guest is attacked. Each test has its twin that must come to the other verdict:
# protected and not, attacked and not, vulnerable and fixed, answered and only observed.

# ---- the whole way, COUNT times ----

right_culprit() {
	true_culprits "$2" | grep -qx "$(incident_value "$1" culprit)" && return
	echo "culprit $(incident_value "$1" culprit), true: $(true_culprits "$2" | tr '\n' ' ')"
	return 1
}

# check_incident ID PROGRAM: the incident tells of a program that was patched.
check_incident() {
	is "incident $1: state" recovered "$(incident_value "$1" state)"
	is "incident $1: no failure" "" "$(incident_value "$1" failure)"
	is "incident $1: module" "/bin/$2" "$(incident_value "$1" module)"
	check "incident $1: the culprit is the store in the copy loop" right_culprit "$1" "$2"
	check "incident $1: guard of at most 96 bytes" between 1 96 "$(incident_value "$1" guard_len)"
	check "incident $1: 5 to 16 bytes replaced" between 5 16 "$(incident_value "$1" bug_len)"
}

# attack_round N: a new VM; benign, attack, attack, benign.
attack_round() {
	local port vm=a$1 pid boot
	port=$(free_port)
	check "round $1: the VM starts" protected "$vm" fig2 "$port:7000"
	pid=$(fact "$port" pid) boot=$(fact "$port" boot_id)
	check "round $1: benign requests" benign "$port" 18 before
	is "round $1: no incident before the attack" $(($1 - 1)) "$(incident_count)"
	check "round $1: not owned" not_owned "$port" fig2 attack
	check "round $1: the attack is answered" wait_incident "$vm"
	is "round $1: detections" 1 "$(status_value "$vm" detections)"
	is "round $1: recoveries" 1 "$(status_value "$vm" recoveries)"
	check_incident "$1" fig2
	check "round $1: not owned by a second attack" not_owned "$port" fig2 attack2
	check "round $1: the service answers the second attack" service_answered attack2
	is "round $1: no second incident" "$1" "$(incident_count)"
	check "round $1: benign requests after it" benign "$port" 18 after
	check "round $1: the same answers" same_file before after
	is "round $1: the same process" "$pid" "$(fact "$port" pid)"
	is "round $1: the same boot" "$boot" "$(fact "$port" boot_id)"
	end "$vm"
	check "round $1: nothing is left" settled nothing_left
	check "round $1: its patches are forgotten" forget_patches
}

test_attack_then_benign() {
	local n
	for ((n = 1; n <= ${COUNT:-3}; n++)); do
		attack_round "$n"
	done
	echo "note: ${COUNT:-3} attacks, $(incident_count) incidents"
}

test_benign_only() {
	local n port
	for ((n = 1; n <= ${COUNT:-3}; n++)); do
		port=$(free_port)
		check "round $n: the VM starts" protected "b$n" fig2 "$port:7000"
		check "round $n: benign requests" benign "$port" 36 first
		check "round $n: benign requests again" benign "$port" 36 second
		check "round $n: the same answers" same_file first second
		is "round $n: detections" 0 "$(status_value "b$n" detections)"
		end "b$n"
		check "round $n: nothing is left" settled nothing_left
	done
	is "no incident" 0 "$(incident_count)"
}

# Many requests: what is tainted comes and goes, and nothing is made of it.
test_benign_many() {
	local port
	port=$(free_port)
	check "the VM starts" protected vm fig2,echo "$port:7000"
	check "2000 benign requests" benign "$port" 2000 answers
	is "no incident" 0 "$(incident_count)"
	is "detections" 0 "$(status_value vm detections)"
	is "recoveries" 0 "$(status_value vm recoveries)"
	is "state" running "$(status_value vm state)"
	is "introspection" true "$(status_value vm introspection)"
	check "the network's bytes were seen" between 10000 10000000 "$(status_value vm rx_payload_bytes)"
	check "they were followed" between 1000 1000000000 "$(status_value vm insns_precise)"
	check "checkpoints were taken" between 1 100000 "$(status_value vm taken)"
	is "checkpoints failed" 0 "$(status_value vm failed)"
	is "frames dropped" 0 "$(status_value vm dropped)"
	is "ring errors" 0 "$(status_value vm ring_errors)"
	is "pages lost" 0 "$(status_value vm pages_lost)"
	is "shadow exhausted" 0 "$(status_value vm shadow_exhausted)"
	end vm
}

# ---- twins of the attack ----

test_unprotected_is_owned() {
	local port
	port=$(free_port)
	plain_vm plain fig2 "$port:7000"
	check "the VM starts" wait_line plain '^guest: ready'
	check "benign requests" benign "$port" 18 answers
	check "owned" owned "$port" fig2 attack
	check "the program is gone" wait_line plain '^guest: fig2 exited 66'
	stop plain
}

test_fixed_program() {
	local port
	port=$(free_port)
	check "the VM starts" protected vm fig2-fixed "$port:$(port_of fig2-fixed)"
	check "benign requests" benign "$port" 18 before
	check "not owned" not_owned "$port" fig2 attack
	check "the service answers the attack" service_answered attack
	is "no incident" 0 "$(incident_count)"
	is "detections" 0 "$(status_value vm detections)"
	check "benign requests after it" benign "$port" 18 after
	check "the same answers" same_file before after
	end vm
}

test_observe() {
	local port
	port=$(free_port)
	check "the VM starts" protected vm fig2,echo "$port:7000" --respond observe
	check "the attack goes through" owned "$port" fig2 attack
	# what the attacker's code does may be seen too
	check "it is reported" between 1 9 "$(incident_count)"
	is "recoveries" 0 "$(status_value vm recoveries)"
	is "patches" 0 "$(status_value vm patches)"
	is "state" running "$(status_value vm state)"
	check "the culprit is the store in the copy loop" right_culprit 1 fig2
	check "the attacked program is gone" wait_console vm '^guest: fig2 exited 66'
	end vm
}

# ---- programs built otherwise ----

# What became of the incident, in a line of the summary.
note_outcome() {
	local strategy failure
	strategy=$(incident_value 1 strategy) failure=$(incident_value 1 failure)
	echo "note: culprit $(incident_value 1 culprit) (true: $(true_culprits "$1" | tr '\n' ' ')), ${failure:-$strategy}"
}

# The culprit of incident 1 lies in its page where the true one does; where the page is, the loader decides.
same_place() {
	local at
	at=$(incident_value 1 culprit)
	[ ${#at} -gt 3 ] && true_culprits "$1" | grep -q "${at: -3}\$"
}

# Overflows of other lengths, once the patch is in: the zero that ends the copy must not get past the buffer either.
any_length() {
	local n text got
	for n in 9 10 15 16 17 18 19 20 21 22 23 24 25 26 32 60 90; do
		text=$(printf 'B%.0s' $(seq "$n"))
		got=$(timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$1" echo "$text")
		[ "$got" = "ok ${text:0:10}" ] || { echo "length $n: \"$got\"" && return 1; }
	done
}

# variant PROGRAM [--crash]: whatever the rung, the program lives on and nothing of the attack happens.
variant() {
	local port pid
	port=$(free_port)
	check "the VM starts" protected vm "$1" "$port:$(port_of "$1")"
	check "benign requests" benign "$port" 18 before
	is "no incident before the attack" 0 "$(incident_count)"
	pid=$(fact "$port" pid)
	check "not owned" not_owned "$port" "$1" attack "${@:2}"
	check "the attack is answered" wait_incident vm
	is "one incident" 1 "$(incident_count)"
	is "state" recovered "$(incident_value 1 state)"
	check "a guard was made" between 1 96 "$(incident_value 1 guard_len)"
	check "the culprit is the store in the copy loop" same_place "$1"
	note_outcome "$1"
	check "benign requests after it" benign "$port" 18 after
	check "the same answers" same_file before after
	is "the same process" "$pid" "$(fact "$port" pid)"
	check "not owned by a second attack" not_owned "$port" "$1" attack2 "${@:2}"
	# In these the zero is written through a pointer, which names no array: not guarded yet.
	[[ $1 == fig2-helper || $1 == fig2-O2 ]] || check "overflows of all lengths are answered" any_length "$port"
	is "no second incident" 1 "$(incident_count)"
	is "the same process after it" "$pid" "$(fact "$port" pid)"
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	end vm
}

# twin PROGRAM REGEX [--crash]: the same without CloudER; the regular expression says how the program ends.
twin() {
	local port
	port=$(free_port)
	plain_vm plain "$1" "$port:$(port_of "$1")"
	check "the twin starts" wait_line plain '^guest: ready'
	exploit "$port" "$1" attack-twin "${@:3}"
	check "the twin's program ends" wait_line plain "^guest: $1 $2"
	stop plain
}

test_variant_O2() { variant fig2-O2 && twin fig2-O2 'exited 66'; }
test_variant_nofp() { variant fig2-nofp && twin fig2-nofp 'exited 66'; }
test_variant_helper() { variant fig2-helper && twin fig2-helper 'exited 66'; }
# Its addresses cannot be known: the attack can only crash it.
test_variant_pie() { variant fig2-pie --crash && twin fig2-pie 'killed by signal 11' --crash; }

# No patch can be made: the connection is cut and reset on both sides, again and again, and the program lives on.
test_contained() {
	local port pid i
	port=$(free_port)
	check "the VM starts" protected vm fig2-nameless "$port:$(port_of fig2-nameless)"
	check "benign requests" benign "$port" 18 before
	pid=$(fact "$port" pid)
	for i in 1 2 3; do
		check_not "attack $i does not own" owned "$port" fig2-nameless "attack$i"
		check "its connection is closed" grep -q '^not owned: the connection was closed' "$T/attack$i"
		check "it is answered" wait_incident vm "$i"
		is "incidents" "$i" "$(incident_count)"
		is "state" recovered "$(incident_value "$i" state)"
		is "no guard" 0 "$(incident_value "$i" guard_len)"
		check "it says why" test -n "$(incident_value "$i" failure)"
		check "benign requests after it" benign "$port" 18 "after$i"
		check "the same answers" same_file before "after$i"
	done
	is "connections blocked" 3 "$(status_value vm flows_blocked)"
	is "the same process" "$pid" "$(fact "$port" pid)"
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	end vm
	twin fig2-nameless 'exited 66'
}

# The library's function has no name: it is known by what it does, and its call in the program is bounded, once.
test_static_copy() {
	local port pid i
	port=$(free_port)
	check "the VM starts" protected vm fig2-strcpy "$port:$(port_of fig2-strcpy)"
	check "benign requests" benign "$port" 18 before
	pid=$(fact "$port" pid)
	for i in 1 2 3; do
		check_not "attack $i does not own" owned "$port" fig2-strcpy "attack$i"
		check "it is answered by the service" service_answered "attack$i"
		check "benign requests after it" benign "$port" 18 "after$i"
		check "the same answers" same_file before "after$i"
	done
	is "incidents" 1 "$(incident_count)"
	is "guards" 1 "$(status_value vm patches)"
	is "the guard is of" copy-guard "$(incident_value 1 strategy)"
	is "connections blocked" 0 "$(status_value vm flows_blocked)"
	is "the same process" "$pid" "$(fact "$port" pid)"
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	end vm
	twin fig2-strcpy 'exited 66'
}

# ---- connections ----

# A client in the middle of a request when another one attacks.
test_connection_survives() {
	local port line
	port=$(free_port)
	check "the VM starts" protected vm fig2,echo "$port:7000"
	exec {tcp}<>"/dev/tcp/127.0.0.1/$port"
	echo "echo first" >&"$tcp"
	read -r -t "$LIMIT" -u "$tcp" line
	is "an answer before the attack" "ok first" "$line"
	printf 'echo ha' >&"$tcp"
	check "not owned" not_owned "$port" fig2 attack
	check "the attack is answered" wait_incident vm
	is "recoveries" 1 "$(status_value vm recoveries)"
	line=
	echo "lf" >&"$tcp"
	read -r -t 60 -u "$tcp" line
	is "the rest of the request is answered" "ok half" "$line"
	echo "echo last" >&"$tcp"
	read -r -t 60 -u "$tcp" line
	is "the connection goes on" "ok last" "$line"
	exec {tcp}>&-
	end vm
}
