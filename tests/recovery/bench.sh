#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What checkpoints, recovery and held output cost; `make bench-recovery`. It prints figures and judges none of them; it fails
# when a guest does not do its work.
#
# RUNS: recoveries, each in a new VM (3). CHECKPOINTS: of each size of memory (50). REQUESTS: of each kind of output (200).
# PARTS: which ("pause answers memory output").
# SIZES: of guest memory in MiB ("1024 8192"). GROWTH: those of which all that grows with memory is measured ("1024 2048 4096 8192").
set -u
. "$(cd "$(dirname "$0")" && pwd)/../guest/vm.sh"

# summary: of numbers on standard input, "MEDIAN LOWEST HIGHEST".
summary() {
	sort -n | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)], v[1], v[NR] }'
}

# sized_vm MIB RUN "HOST:GUEST" [OPTION...]: as protected, with so much memory.
sized_vm() {
	qemu_args "$2"
	QEMU_ARGS[1]=$1
	: >"$T/vm.console"
	launch_as vm "$CLOUDER" run --name vm --console "$T/vm.console" --net "user$(forwards "$3")" "${@:4}" -- \
		"${QEMU_ARGS[@]}"
	wait_ready vm
}

# One request between two checkpoints, so that there is something to protect again.
pauses() {
	local i
	for ((i = 0; i < ${CHECKPOINTS:-50}; i++)); do
		benign "$1" 1 answer && "$CLOUDER" checkpoint vm --json | json_value pause_us || return
	done
}

bench_pause() {
	local mib port figures
	echo "pause of a checkpoint, us: median, lowest, highest of ${CHECKPOINTS:-50}"
	for mib in ${SIZES:-1024 8192}; do
		port=$(free_port)
		check "$mib MiB: the VM starts" sized_vm "$mib" echo "$port:7010" --checkpoint-interval 60000 >"$T/said" || exit
		check "$mib MiB: checkpoints" pauses "$port" >"$T/pauses"
		figures=$(grep -x '[0-9]*' "$T/pauses" | summary)
		printf '  %5d MiB  %s\n' "$mib" "$figures"
		end vm >"$T/said"
	done
}

# dirty PORT MIB: the guest writes to so much memory after a checkpoint.
dirty() {
	local ask=("$GUEST/ask" "127.0.0.1:$1" "echo dirty $2")
	# The first time the memory is made.
	timeout "$LIMIT" "${ask[@]}" && "$CLOUDER" checkpoint vm && timeout "$LIMIT" "${ask[@]}"
}

# dirty_itself PORT MIB: the same, by something that the guest does of its own accord, and does not do at once after a rollback.
dirty_itself() {
	local ask=("$GUEST/ask" "127.0.0.1:$1")
	timeout "$LIMIT" "${ask[@]}" "echo dirty $2" && timeout "$LIMIT" "${ask[@]}" "echo later $2 2000" &&
		"$CLOUDER" checkpoint vm && wait_console vm "^sink: written"
}

# recover_from NUMBER MIB HOW: an attack in a new VM of 1 GiB, so much of which was written to since the checkpoint.
recover_from() {
	local port sink
	port=$(free_port)
	sink=$(free_port)
	check "the VM starts" sized_vm 1024 fig2,sink "$port:7000 $sink:7016" --checkpoint-interval 60000
	check "requests" benign "$port" 18 before
	check "memory is written to" "$3" "$sink" "$2"
	check "not owned" not_owned "$port" fig2 attack
	check "an incident" test "$(incident_count)" -eq "$1"
	check "so much was brought back" test "$(incident_value "$1" pages_undone)" -ge $(($2 * 256))
	check "the service answers" service_answered attack
	end vm
	check "the next VM has no patches" forget_patches
}

# bench_recovery MIB HOW WHY: the four columns of the paper's Table 2, from the incident, and when the service answered.
incidents=0
bench_recovery() {
	local i name
	: >"$T/times"
	for ((i = 1; i <= ${RUNS:-3}; i++)); do
		incidents=$((incidents + 1))
		recover_from "$incidents" "$1" "$2" >"$T/said" || cat "$T/said"
		for name in detect locate recover insert total; do
			printf '%s %s\n' "$name" "$(incident_value "$incidents" "t_${name}_us")" >>"$T/times"
		done
		sed -n 's/^after \([0-9]*\) us/answer \1/p' "$T/attack" >>"$T/times"
	done
	echo "an attack on the paper's example, $1 MiB written to since the checkpoint $3, s: median of ${RUNS:-3}; the paper's Table 2, first row; how many times as fast"
	awk 'BEGIN { split("detect 0.419 locate 1.789 recover 3.956 insert 1.127 total 7.291", p)
			for (i = 1; i < 10; i += 2) paper[p[i]] = p[i + 1] }
		{ n[$1]++; v[$1, n[$1]] = $2 }
		function median(k,	i, j, t) {
			for (i = 2; i <= n[k]; i++)
				for (j = i; j > 1 && v[k, j - 1] + 0 > v[k, j] + 0; j--) { t = v[k, j]; v[k, j] = v[k, j - 1]; v[k, j - 1] = t }
			return v[k, int((n[k] + 1) / 2)] / 1e6
		}
		END { for (i = 1; i < 10; i += 2) { m = median(p[i])
			printf "  %-8s %8.4f  %8.3f  %8.0f\n", p[i], m, paper[p[i]], m ? paper[p[i]] / m : 0 }
			printf "  %-8s %8.4f\n", "answer", median("answer") }' "$T/times"
}

# fill PORT MIB: the guest writes to so much memory, in steps that are answered in time.
fill() {
	local mib
	for ((mib = 128; mib < $2 + 128; mib += 128)); do
		timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$1" "echo dirty $mib" || return
	done
}

pause() { "$CLOUDER" checkpoint vm --json | json_value pause_us; }

# touched MIB: of a guest with so much memory, three quarters of which it has written to, on one line: pause of a checkpoint with all of
# that to protect, of the next, recovery from an attack, pause of the next engine's first checkpoint; us.
touched() {
	local port sink line
	port=$(free_port)
	sink=$(free_port)
	incidents=$((incidents + 1))
	check "$1 MiB: the VM starts" sized_vm "$1" fig2,sink "$port:7000 $sink:7016" --checkpoint-interval 60000
	check "$1 MiB: memory is written to" fill "$sink" $(($1 * 3 / 4))
	line="$(pause) $(pause)"
	check "$1 MiB: not owned" not_owned "$port" fig2 attack
	check "$1 MiB: an incident" test "$(incident_count)" -eq "$incidents"
	line+=" $(incident_value "$incidents" t_recover_us) $(pause)"
	end vm
	check "$1 MiB: the next VM has no patches" forget_patches
	echo "$line" >"$T/line"
}

bench_memory() {
	local mib
	echo "what grows with memory, us, once each: a checkpoint that protects 3/4 of it, the next; recovery, the next engine's first checkpoint"
	for mib in ${GROWTH:-1024 2048 4096 8192}; do
		touched "$mib" >"$T/said" || cat "$T/said"
		printf '  %5d MiB  %s\n' "$mib" "$(cat "$T/line")"
	done
}

# round_trips PORT: us for each answer over one connection.
round_trips() {
	local i line start
	exec {connection}<>"/dev/tcp/127.0.0.1/$1"
	for ((i = 0; i < ${REQUESTS:-200}; i++)); do
		start=${EPOCHREALTIME/./}
		echo "echo $i" >&"$connection" && read -r -t 60 -u "$connection" line && [ "$line" = "ok $i" ] || return
		echo $((${EPOCHREALTIME/./} - start))
	done
	exec {connection}>&-
}

bench_output() {
	local row port
	echo "answer to a request, us: median, lowest, highest of ${REQUESTS:-200}"
	for row in "release 100" "hold 100" "hold 20"; do
		port=$(free_port)
		check "$row: the VM starts" sized_vm 1024 echo "$port:7010" --output "${row% *}" \
			--checkpoint-interval "${row#* }" >"$T/said"
		check "$row: requests" round_trips "$port" >"$T/trips"
		printf '  %-8s every %3d ms  %s\n' "${row% *}" "${row#* }" "$(grep -x '[0-9]*' "$T/trips" | summary)"
		end vm >"$T/said"
	done
}

bench_answers() {
	bench_recovery 0 dirty_itself "by the guest itself"
	bench_recovery 64 dirty_itself "by the guest itself"
	bench_recovery 64 dirty "for a request, which is handled again"
}

test_begin bench_recovery
for part in ${PARTS:-pause answers memory output}; do
	"bench_$part"
done
test_end
