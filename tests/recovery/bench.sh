#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What checkpoints, recovery and held output cost; `make bench-recovery`. It prints figures and judges none of them; it fails
# when a guest does not do its work.
#
# RUNS: recoveries, each in a new VM (3). CHECKPOINTS: of each size of memory (50). REQUESTS: of each kind of output (200).
# SIZES: of guest memory in MiB ("1024 8192").
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

# The four columns of the paper's Table 2, from the incident.
bench_recovery() {
	local i port name
	: >"$T/times"
	for ((i = 1; i <= ${RUNS:-3}; i++)); do
		port=$(free_port)
		check "the VM starts" sized_vm 1024 fig2 "$port:7000" >"$T/said"
		check "requests" benign "$port" 18 before >"$T/said"
		check "not owned" not_owned "$port" fig2 attack >"$T/said"
		check "an incident" test "$(incident_count)" -eq "$i" >"$T/said"
		for name in detect locate recover insert total; do
			printf '%s %s\n' "$name" "$(incident_value "$i" "t_${name}_us")" >>"$T/times"
		done
		end vm >"$T/said"
	done
	echo "an attack on the paper's example, s: median of ${RUNS:-3}; the paper's Table 2, first row; how many times as fast"
	awk 'BEGIN { split("detect 0.419 locate 1.789 recover 3.956 insert 1.127 total 7.291", p)
			for (i = 1; i < 10; i += 2) paper[p[i]] = p[i + 1] }
		{ n[$1]++; v[$1, n[$1]] = $2 }
		function median(k,	i, j, t) {
			for (i = 2; i <= n[k]; i++)
				for (j = i; j > 1 && v[k, j - 1] + 0 > v[k, j] + 0; j--) { t = v[k, j]; v[k, j] = v[k, j - 1]; v[k, j - 1] = t }
			return v[k, int((n[k] + 1) / 2)] / 1e6
		}
		END { for (i = 1; i < 10; i += 2) { m = median(p[i])
			printf "  %-8s %8.4f  %8.3f  %8.0f\n", p[i], m, paper[p[i]], m ? paper[p[i]] / m : 0 } }' "$T/times"
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

test_begin bench_recovery
bench_pause
bench_recovery
bench_output
test_end
