# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The attack lab itself: that its attacks are real, that its fixed twins are right, and that neither CloudER nor the lab makes
# anything of benign requests. What CloudER makes of the attacks is tests/attacks/matrix.sh.

# shellcheck source=tests/attacks/forms.sh
. "$(dirname "${BASH_SOURCE[0]}")/../attacks/forms.sh"

# takes_over BUILD FORM: an attacker who is not answered in time, or whose guess was wrong, comes again.
takes_over() {
	local try
	for try in 1 2 3; do
		settled lab_answers && lab_exploit "$1" "$2" attack && return
		echo "$2, try $try:" && cat "$T/attack"
	done
	return 1
}

# Under plain QEMU every form of a build takes the service over or ends it; it is started again by the guest.
test_lab_attacks_are_real() {
	local build=lab-O0 form
	PORT=$(free_port)
	plain_vm plain "$build clouder.again" "$PORT:$(lab_port "$build")"
	check "the VM starts" wait_line plain '^guest: ready'
	while read -r form _; do
		check "$form: benign" lab_benign 5 benign "$form"
		check "$form: attack" takes_over "$build" "$form"
		check "$form: the service is there again" settled lab_answers
	done < <(lab_forms "$build")
	check "many forms" between 100 1000 "$(lab_forms "$build" | wc -l)"
	stop plain
}

# The attacker at home: copies of the fixed builds survive what ends the others.
test_lab_twins_are_right() {
	local build form status
	for build in $(lab_fixed); do
		while read -r form _; do
			status=0
			timeout "$LIMIT" "$GUEST/exploit-lab" - --binary "$GUEST/bin-lab/$build" "$form" --crash >"$T/out" 2>&1 || status=$?
			is "$build: $form" 3 "$status"
		done < <(lab_forms "$build")
	done
}

# lab_slice SEED COUNT: benign requests to one of the builds; what is wrong with the answers goes to a file of its own.
lab_slice() {
	local build=${builds[$1 % ${#builds[@]}]}
	timeout "$LIMIT" "$GUEST/benign-lab" "127.0.0.1:${ports[$build]}" "$1" "$2" 2>"$T/benign.$1" >"$T/benign.$1.out" ||
		echo "$build, seed $1: $(cat "$T/benign.$1")" >>"$T/wrong"
	rm -f "$T/benign.$1" "$T/benign.$1.out"
}

# REQUESTS benign requests over the builds, each a service of one VM, by CLIENTS at a time.
test_lab_false_alarms() {
	local build all=${REQUESTS:-2000} forwards=''
	local -a builds
	local -A ports
	mapfile -t builds < <(lab_fixed && printf '%s\n' lab-O2 lab-hard2 lab-32-O2)
	for build in "${builds[@]}"; do
		ports[$build]=$(free_port)
		forwards+=" ${ports[$build]}:$(lab_port "$build")"
	done
	check "the VM starts" protected vm "$(IFS=, && echo "${builds[*]}")" "${forwards# }"
	in_slices lab_slice "$all" 250
	no_alarm
	echo "note: $all requests to ${#builds[@]} builds"
	end vm
}

# healed BUILD "FORM DETECTOR" ...: each form is seen by this detector and healed, see tests/attacks/matrix.sh.
healed() {
	local build=$1 row forms=''
	shift
	for row in "$@"; do
		forms+=" ${row% *}"
	done
	FORMS=$forms BUILDS=$build "$TOP/tests/attacks/matrix.sh" >"$T/$build" 2>&1
	for row in "$@"; do
		check "$build: $row" grep -qE "^$build +${row% *} +yes +${row#* } .* healed " "$T/$build" ||
			grep -F "${row% *}" "$T/$build"
	done
}

# The detectors, one form each; all of the matrix takes hours (make check-attacks).
test_lab_detectors() {
	healed lab-O2 "stack-ret-memcpy tainted-return" "stack-ret-strcpy tainted-index" "stack-call-read tainted-branch" \
		"stack-pointer-ret-count tainted-pointer" "format-printf-ret tainted-pointer" "index-ret tainted-index"
	healed lab-hard3 "stack-ret-loop tainted-canary" "stack-ret-read abort" "stack-pointer-hook-count tainted-fault" \
		"format-log-ret abort" "format-snprintf-crash tainted-fault"
}

# The 32-bit memcpy() of a static program pushes a register of which its frame information does not tell.
test_lab_pushes() {
	healed lab-32-O2-static "heap-pointer-ret-memcpy tainted-pointer" "stack-jump-param-memcpy tainted-branch"
}

# The second rung in a program without names, whose first guard did the copy by itself: nobody called what it stands for.
test_lab_second_rung() {
	healed lab-pie-static "stack-class-strcpy tainted-fault"
}

# A file with little room behind its code: what does not fit there goes into memory that the process maps, and comes back after
# each rollback.
test_lab_homes() {
	local build=lab-O2-packed form pid home
	# loops have two guards, which want pages at the same time
	local -a forms=(stack-ret-strcpy stack-ret-strcat static-call-strcpy stack-ret-memcpy stack-ret-strncpy stack-ret-read
		stack-call-loop stack-ret-gets)
	local -A homes=()
	local -A port=([vmilab]=$(free_port))
	PORT=$(free_port)
	check "the VM starts" protected vm "$build,vmilab clouder.again" "$PORT:$(lab_port "$build") ${port[vmilab]}:$(port_of vmilab)"
	check "benign requests" lab_benign 20 before "${forms[@]}"
	pid=$(lab_ask pid)
	for form in "${forms[@]}"; do
		check "$form: healed" heals "$build" "$form"
		home=$(incident_value "$(incident_count)" home)
		homes[${home:-none}]=$((${homes[${home:-none}]:-0} + 1))
	done
	check "some guards are in the cave" between 1 5 "${homes[cave]:-0}"
	check "some in the process" between 4 7 "${homes[process]:-0}"
	for form in "${forms[@]}"; do
		lab_exploit "$build" "$form" again
		check "$form: dead to the end" grep -q '^came back: ok' "$T/again"
	done
	is "incidents" "${#forms[@]}" "$(incident_count)"
	check "benign requests after it" lab_benign 20 after "${forms[@]}"
	check "the same answers" same_file before after
	is "the same process" "$pid" "$(lab_ask pid)"
	# Another process has them too, until they are reverted.
	check "the service is started again" in_guest restart "kill -KILL $pid"
	check "it is another process" settled another_pid "$pid"
	check "all patches are in it" settled all_verified true
	for form in "${forms[@]}"; do
		lab_exploit "$build" "$form" again
		check "$form: dead in the other process" grep -q '^came back: ok' "$T/again"
	done
	is "incidents" "${#forms[@]}" "$(incident_count)"
	pid=$(lab_ask pid)
	check "all are reverted" forget_patches
	check "none is in it" settled all_verified false
	check "benign requests without them" lab_benign 20 without "${forms[@]}"
	check "the same answers" same_file before without
	is "the same process still" "$pid" "$(lab_ask pid)"
	end vm
	# shellcheck disable=SC2046 # several
	check "all are applied again" "$CLOUDER" patch apply $("$CLOUDER" patch list | awk '$4 == "reverted" { print $1 }')
	copy_is_healed "$build" "${forms[@]}"
}

# copy_is_healed BUILD FORM...: outside of any VM the attacks take the program over, and not a copy with the patches of the store.
copy_is_healed() {
	local build=$1 form
	check "the program has a patched copy" "$CLOUDER" patch export "$("$CLOUDER" patch list --json | json_value id)" \
		--elf "$GUEST/bin-lab/$build" --output "$T/copy" >"$T/exported"
	check_not "with all patches" grep 'left out' "$T/exported"
	cat "$T/exported"
	is "patches in it" "$("$CLOUDER" patch list | grep -c ' active ')" "$(grep -c ' is in ' "$T/exported")"
	check "it has a new segment" grep -q 'clouder[.]far' <(readelf -SW "$T/copy")
	PORT=$(free_port)
	start copy "$T/copy" "$PORT"
	check "it runs outside" settled lab_answers
	check "copy: benign requests" lab_benign 20 outside "${@:2}"
	check "copy: the same answers" same_file before outside
	for form in "${@:2}"; do
		lab_exploit "$build" "$form" again
		check "copy: $form: dead to the end" grep -q '^came back: ok' "$T/again"
	done
	check "copy: benign requests after it" lab_benign 20 outside "${@:2}"
	check "copy: the same answers" same_file before outside
	stop copy
	for form in "${@:2}"; do
		PORT=$(free_port)
		start "original-$form" "$GUEST/bin-lab/$build" "$PORT"
		check "the program runs outside" settled lab_answers
		check "original: $form: owned" lab_exploit "$build" "$form" again
		stop "original-$form"
	done
}

another_pid() {
	local now
	now=$(lab_ask pid)
	[ -n "$now" ] && [ "$now" -ne "$1" ]
}

# all_verified PATCHED: of each patch of the store that is for the top of its site: in place in every process, or in none.
all_verified() {
	local id
	# A process puts in what it has been sent when it runs.
	lab_answers || return
	for id in $("$CLOUDER" patch list | awk 'NR > 1 { print $1 }'); do
		"$CLOUDER" patch verify "$id" vm --json >"$T/verified" && grep -q '"patched"' "$T/verified" || return
		! grep '"patched"' "$T/verified" | grep -v "$1" >/dev/null || return
	done
}

# Attacks while 50 connections are busy in both directions: none is reset, and no byte is lost, there twice or another.
test_lab_streams() {
	local build=lab-O2 port count
	PORT=$(free_port)
	port=$(free_port)
	check "the VM starts" protected vm "$build,stream" "$PORT:$(lab_port "$build") $port:$(port_of stream)"
	check "connections are busy" begin_rounds streams "$GUEST/stream-clients" "127.0.0.1:$port" 50
	heals_some "$build" streams
	check "every byte is right" end_rounds streams
	check "of all connections" grep -q '^50 connections, [0-9]* bytes each way' "$T/streams.out"
	echo "note: $(tail -n 1 "$T/streams.out"), $count recoveries"
	check "nothing died" nothing_died vm
	end vm
}

# Attacks whose culprit a second run shows, while clients of two other services come and go: those who come in the midst of
# a rollback are served like all others.
test_lab_crowd() {
	local build=lab-O2 form threads forks
	PORT=$(free_port)
	threads=$(free_port)
	forks=$(free_port)
	check "the VM starts" protected vm "crowd-threads,crowd-forks,$build clouder.again" \
		"$threads:$(port_of crowd-threads) $forks:$(port_of crowd-forks) $PORT:$(lab_port "$build")"
	check "clients come" begin_rounds load crowd_load "$threads" "$forks"
	for form in static-call-gets heap-call-gets heap-pointer-ret-memcpy static-jump-memcpy index-ret; do
		check "$form: healed" heals "$build" "$form"
		check "$form: clients go on" rounds_go_on load
	done
	check "all were answered rightly" end_rounds load
	check "nothing died" nothing_died vm
	end vm
}
