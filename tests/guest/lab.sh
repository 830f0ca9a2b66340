# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# How the labels of a guest program's memory are looked at and judged: what the tests of paths and of traps share. The
# service in the guest (guests/taintlab.h) sends a payload along a path that it knows and says where the result lies.
#
# exact: byte i of the result has the origin of byte i of the payload, which is known from what came right before it in
# the stream. all: each byte has some origin of the payload. clean: none has any. address: none has any as data, but each was
# written to where the payload said.
#
# A file that sources this one has known_gaps(), which prints what is known not to hold yet: lines "CONFIGURATION SERVICE
# PATH reason", the first three patterns of the shell. The notes of a run say which of them were met, and which held all
# the same.

gap_reason() {
	local config lab path reason
	while read -r config lab path reason; do
		# shellcheck disable=SC2053 # they are patterns
		[[ $1 == $config && $2 == $lab && $3 == $path ]] && echo "$reason" && return
	done < <(known_gaps)
}

# lab_vm RUN QEMU-ARGUMENTS...: a VM with services, all of whose detections are only reported.
lab_vm() {
	local net=user lab
	qemu_args "$1"
	for lab in ${1//,/ }; do
		port[$lab]=$(free_port)
		net+=,hostfwd=tcp:127.0.0.1:${port[$lab]}-:$(lab_port "$lab")
	done
	: >"$T/vm.console"
	launch_as vm "$CLOUDER" run --name vm --respond observe --checkpoint-interval 60000 --console "$T/vm.console" \
		--net "$net" -- "${QEMU_ARGS[@]}" "${@:2}"
	wait_ready vm && settled introspected
}

lab_port() { awk -v name="$1" '$2 == name { print $3 }' "$TOP/guests/programs.txt"; }
introspected() { [ "$(status_value vm introspection)" = true ]; }

# ask_list LAB: the rows "PATH EXPECT PAYLOAD" that the service knows, in the array ROWS.
ask_list() {
	local row
	ROWS=()
	printf 'list 0:' >&"$connection"
	while read -r -t "$LIMIT" -u "$connection" row && [ "$row" != end ]; do
		ROWS+=("$row")
	done
	[ "${row:-}" = end ]
}

# look PID AT LENGTH: the runs of tainted bytes of a range, lines "AT LENGTH origin N ...", in the array RUNS. TAINTED says
# how many bytes they are. 1: not all of the range is mapped, or there is no answer.
look() {
	local -a seen
	mapfile -t seen < <("$CLOUDER" taint vm --pid "$1" --at "$2" --length "$3" 2>&1)
	RUNS=("${seen[@]:2}")
	TAINTED=${seen[1]:-${seen[*]}}
	TAINTED=${TAINTED#*: }
	[[ $TAINTED == *" of $3 bytes tainted, 0 not mapped" ]] || return
	TAINTED=${TAINTED%% *}
}

# counts_up AT ORIGIN LENGTH: RUNS is LENGTH bytes from address AT on, whose origins count up from ORIGIN.
counts_up() {
	local at=$(($1)) origin=$2 end=$(($1 + $3)) line run_at len word run_origin rest
	for line in "${RUNS[@]}"; do
		read -r run_at len word run_origin rest <<<"$line"
		[ "$word" = origin ] && [ $((run_at)) -eq "$at" ] && [ "$run_origin" -eq "$origin" ] || return
		at=$((at + len))
		origin=$((origin + len))
	done
	[ "$at" -eq "$end" ]
}

# within FIRST LAST: no origin in RUNS is outside.
within() {
	local line run_at len word run_origin rest
	for line in "${RUNS[@]}"; do
		read -r run_at len word run_origin rest <<<"$line"
		[ "$word" != origin ] || { [ "$run_origin" -ge "$1" ] && [ $((run_origin + len - 1)) -le "$2" ]; } || return
	done
}

# send_path PATH PAYLOAD: the words of the answer (guests/taintlab.c), without the first two, in the array ANSWER.
send_path() {
	local LC_ALL=C
	ANSWER=()
	printf '%s %d:%s' "$1" "${#2}" "$2" >&"$connection"
	read -r -t "$LIMIT" -u "$connection" -a ANSWER
	[ "${ANSWER[0]:-}" = "$1" ] && [ "${#ANSWER[@]}" -eq 9 ] || return
	ANSWER=("${ANSWER[@]:2}")
}

# find_payload: the origin of the payload's first byte, in FIRST: that of the byte after the request's first part.
find_payload() {
	local run_at len word rest
	look "${ANSWER[@]:0:3}" && [ "${#RUNS[@]}" -gt 0 ] || return
	read -r run_at len word FIRST rest <<<"${RUNS[0]}"
	counts_up "${ANSWER[1]}" "$FIRST" "${ANSWER[2]}" || return
	FIRST=$((FIRST + ANSWER[2]))
}

# of_kind KIND: how many bytes of RUNS are of a kind: data, index, address.
of_kind() {
	local line run_at len word run_origin kind rest count=0
	for line in "${RUNS[@]}"; do
		read -r run_at len word run_origin kind rest <<<"$line"
		[ "$kind" != "$1" ] || count=$((count + len))
	done
	echo "$count"
}

# judge EXPECT PAYLOAD-LENGTH: whether RUNS is what it has to be.
judge() {
	case $1 in
	exact) counts_up "${ANSWER[4]}" $((FIRST + ANSWER[6])) "${ANSWER[5]}" ;;
	all) [ "$TAINTED" -eq "${ANSWER[5]}" ] && within "$FIRST" $((FIRST + $2 - 1)) ;;
	address) [ "$TAINTED" -eq 0 ] && [ "$(of_kind address)" -eq "${ANSWER[5]}" ] && within "$FIRST" $((FIRST + $2 - 1)) ;;
	clean) [ "$TAINTED" -eq 0 ] ;;
	*) return 1 ;;
	esac
}

# path_holds PATH EXPECT PAYLOAD: sends it and judges the result; says what is wrong.
path_holds() {
	local LC_ALL=C
	send_path "$1" "$3" || { echo "no result: ${ANSWER[*]}" && return 1; }
	find_payload || { printf 'the request itself: %s\n' "$TAINTED" "${RUNS[@]}" && return 1; }
	[ "${ANSWER[5]}" -gt 0 ] && look "${ANSWER[@]:3:3}" && judge "$2" "${#3}" && return
	echo "wanted $2 of ${ANSWER[5]} bytes from offset ${ANSWER[6]}, the payload's origins are $FIRST and ${#3} more:"
	printf '%s\n' "$TAINTED" "${RUNS[@]}"
	return 1
}

# check_path CONFIGURATION LAB PATH EXPECT PAYLOAD
check_path() {
	local reason said
	reason=$(gap_reason "$1" "$2" "$3")
	if said=$(path_holds "${@:3}"); then
		passes "$1: $2: $3"
		[ -z "$reason" ] || gaps["$3: holds here, though: $reason"]=1
	elif [ -n "$reason" ]; then
		skip "$1: $2: $3: $reason"
		gaps["$3: left out: $reason"]=1
	else
		echo "$said" | head -n 40
		fails "$1: $2: $3"
	fi
}

# begin_paths CONFIGURATION SERVICES(,) QEMU-ARGUMENTS...: the VM of the test.
begin_paths() {
	declare -gA port=() gaps=()
	check "$1: the VM starts" lab_vm "$2" "${@:3}"
}

# all_paths CONFIGURATION LAB AT-LEAST [COMMAND]: every path that the service knows, at least so many; then a command that
# may talk to it too.
all_paths() {
	local row path expect payload
	exec {connection}<>"/dev/tcp/127.0.0.1/${port[$2]}"
	check "$1: $2: the list of paths" ask_list
	check "$1: $2: it is not short" test "${#ROWS[@]}" -ge "$3"
	for row in "${ROWS[@]}"; do
		read -r path expect payload <<<"$row"
		check_path "$1" "$2" "$path" "$expect" "$payload"
	done
	[ -z "${4:-}" ] || check "$1: $2: $4" "$4"
	exec {connection}>&-
}

# end_paths CONFIGURATION: the rest of the verdict.
end_paths() {
	local gap
	is "$1: detections" 0 "$(status_value vm detections)"
	check_not "$1: no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	end vm
	for gap in "${!gaps[@]}"; do
		echo "note: $gap"
	done
}
