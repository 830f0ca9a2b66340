# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Paths of bytes through a guest: builds of one service with each C library, 64 bits and 32, with AVX2 and without, on one
# vCPU and on several. Each path is a check; its twin is among the rows: paths that must taint beside paths that must not.

# shellcheck source=tests/guest/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

LABS=(taintlab taintlab-dynamic taintlab-musl taintlab-i386)
PATHS_AT_LEAST=100

known_gaps() {
	cat <<-'END'
		* * clean-random the kernel mixes the registers of what it interrupts into its random numbers
	END
}

# Tainted bytes in the VM.
total() { "$CLOUDER" taint vm --json | json_value tainted_bytes; }

# Looking up names of files again and again leaves no more taint behind than doing it once.
names_leave_nothing() {
	local before after i
	send_path many-names "The quick brown Fox" && before=$(total) || return
	for ((i = 0; i < 3; i++)); do
		send_path many-names "The quick brown Fox" || return
	done
	after=$(total)
	[ $((after - before)) -le 1024 ] && return
	echo "$before bytes were tainted, then $after"
	return 1
}

# paths CONFIGURATION QEMU-ARGUMENTS...
paths() {
	local lab
	begin_paths "$1" "$(IFS=, && echo "${LABS[*]}")" "${@:2}"
	for lab in "${LABS[@]}"; do
		all_paths "$1" "$lab" "$PATHS_AT_LEAST" names_leave_nothing
	done
	end_paths "$1"
}

test_paths_max() { paths max -cpu max; }
test_paths_sse2() { paths sse2 -cpu qemu64; }
test_paths_smp2() { paths smp2 -cpu max -smp 2; }
test_paths_smp4() { paths smp4 -cpu max -smp 4; }
