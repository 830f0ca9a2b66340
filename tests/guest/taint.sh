# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Paths of bytes through a guest: builds of one service with each C library, 64 bits and 32, with AVX2 and without, on one
# vCPU and on several. Each path is a check; its twin is among the rows: paths that must taint beside paths that must not.

# shellcheck source=tests/guest/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

LABS=(taintlab taintlab-dynamic taintlab-musl taintlab-i386)
PATHS_AT_LEAST=100

known_gaps() { :; }

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

# random_disk MIB: a disk that the guest can read, by the arguments in the array DISK.
random_disk() {
	DISK=(-drive "file=$T/disk,format=raw,if=virtio,readonly=on")
	head -c "$1M" /dev/urandom >"$T/disk"
}

# paths CONFIGURATION QEMU-ARGUMENTS...
paths() {
	local lab
	check "$1: a disk" random_disk 1
	begin_paths "$1" "$(IFS=, && echo "${LABS[*]}")" "${DISK[@]}" "${@:2}"
	for lab in "${LABS[@]}"; do
		all_paths "$1" "$lab" "$PATHS_AT_LEAST" names_leave_nothing
	done
	end_paths "$1"
}

test_paths_max() { paths max -cpu max; }
test_paths_sse2() { paths sse2 -cpu qemu64; }
test_paths_smp2() { paths smp2 -cpu max -smp 2; }
test_paths_smp4() { paths smp4 -cpu max -smp 4; }

# ---- memory that is used again and again ----

# How many times its RAM a guest takes in, in rounds: the whole disk, then as much from the network as the sink's file holds.
# The disk is larger than the RAM: reading it again reads it from the disk again, and what was freed is used again.
REUSE=${REUSE:-3}
RAM_MIB=128
ROUND_MIB=32
DISK_MIB=160
# What may be tainted when nearly all free memory was zeroed: the sink's buffer must still be, and nothing else is but what
# was never used again: buffers that wait in the network device's receive ring (at most 256 of 1.5 KiB, and traffic wrote
# over most), slabs of packets that are not full, some of the last free pages. 0 to 57 KiB more
# than the buffer in five runs with Debian 12's kernel, 203 KiB with Debian 13's; 34 MiB without the zeroing.
SINK_BUFFER=65536
CLEAN_MOST=$((512 << 10))
# Before that: freed memory keeps its content, so most of the file's last is there.
FREED_LEAST=$(((ROUND_MIB << 20) / 2))

# order TEXT [SOURCE MIB]: has the sink (guests/sink.c) obey, with data for it; 1: it did not.
order() {
	local connection said
	exec {connection}<>"/dev/tcp/127.0.0.1/${port[sink]}" || return
	echo "echo $1" >&"$connection"
	if [ $# -gt 1 ]; then
		read -r -t "$LIMIT" -u "$connection" said && [ "$said" = go ] && head -c "$3M" "$2" >&"$connection"
	fi
	read -r -t "$LIMIT" -u "$connection" said
	exec {connection}>&-
	[ "$said" = "ok done" ] && return
	echo "$1: $said"
	return 1
}

# Zeroes come last: a label of a byte that was zero fits the zeroed byte too, so nothing but following the store that
# zeroes it makes it clean.
fill() {
	local round rounds=$((REUSE * RAM_MIB / (ROUND_MIB + DISK_MIB))) source
	for ((round = 1; round <= rounds; round++)); do
		source=/dev/urandom
		[ $((round % 2)) -eq 1 ] || source=/dev/zero
		order "disk $((DISK_MIB << 20))" || return
		order "take $((ROUND_MIB << 20))" "$source" "$ROUND_MIB" || return
		echo "round $round of $rounds: $(total) bytes tainted"
	done
}

# What the kernel kept back the first time is not what it keeps back the second time.
zero_free_memory() { order wipe && order wipe; }

# What the kernel makes of interrupts, addresses of what they interrupted among it, has nothing of the traffic.
random_is_clean() {
	exec {connection}<>"/dev/tcp/127.0.0.1/${port[taintlab]}"
	check "random numbers are clean" path_holds clean-random clean "The quick brown Fox"
	check "those of a new process are" path_holds clean-at-random clean "The quick brown Fox"
	exec {connection}>&-
}

is_number() { [[ $1 =~ ^[0-9]+$ ]]; }

test_reuse() {
	local before after name
	declare -gA port=()
	check "a disk" random_disk "$DISK_MIB"
	check "the VM starts" lab_vm sink,taintlab -m "$RAM_MIB" "${DISK[@]}"
	is "nothing is tainted before" 0 "$(total)"
	check "the data is taken in" fill
	check "the file is removed" order release
	before=$(total)
	check "freed memory stays tainted ($before bytes)" between "$FREED_LEAST" $((RAM_MIB << 20)) "$before"
	check "free memory is zeroed" zero_free_memory
	after=$(total)
	check "zeroed memory is clean ($after bytes)" between "$SINK_BUFFER" "$CLEAN_MOST" "$after"
	for name in stale_loads stale_bytes; do
		check "$name is a number" is_number "$(status_value vm "$name")"
	done
	random_is_clean
	is "shadow exhausted" 0 "$(status_value vm shadow_exhausted)"
	is "detections" 0 "$(status_value vm detections)"
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	end vm
	echo "note: $((REUSE * RAM_MIB)) MiB taken in: $before bytes tainted, $after when memory was zeroed"
}

# ---- memory that a disk writes to ----

# The whole disk is read through the cache for files, into memory that was full of data from the network. Its bytes are
# random, so one in 256 is what its label says it was. A kernel that zeroes each page that it gives out would hide it all.

# Looks at all memory that is tainted: each status does so with a part.
sweep() {
	local i
	for ((i = 0; i < RAM_MIB / 8; i++)); do
		status_value vm stale_bytes >"$T/stale" || return
	done
}

test_disk_read() {
	local before after loads
	declare -gA port=()
	check "a disk" random_disk "$DISK_MIB"
	check "the VM starts" lab_vm sink -m "$RAM_MIB" "${DISK[@]}" \
		-append "console=ttyS0 quiet panic=-1 clouder.run=sink init_on_alloc=0"
	check "a file of $ROUND_MIB MiB is taken in" order "take $((ROUND_MIB << 20))" /dev/urandom "$ROUND_MIB"
	check "the file is removed" order release
	before=$(total)
	check "freed memory stays tainted ($before bytes)" between "$FREED_LEAST" $((RAM_MIB << 20)) "$before"
	check "the disk is read" order "disk $((DISK_MIB << 20))"
	check "all memory is looked at" sweep
	after=$(total)
	check "what the disk wrote to is clean ($after bytes)" between 0 $((1 << 20)) "$after"
	loads=$(status_value vm stale_loads)
	check "no store made it so, but loads ($loads)" between $((FREED_LEAST / 64)) $((RAM_MIB << 20)) "$loads"
	end vm
	echo "note: $before bytes tainted, $after when the disk was read; $loads loads and a sweep ($(cat "$T/stale")) found it"
}

# A disk that is only read is as it was at every checkpoint.
test_disk_rollback() {
	declare -gA port=([fig2]=$(free_port) [sink]=$(free_port))
	check "a disk" random_disk 64
	qemu_args fig2,sink
	: >"$T/vm.console"
	launch_as vm "$CLOUDER" run --name vm --console "$T/vm.console" --net \
		"user,hostfwd=tcp:127.0.0.1:${port[fig2]}-:7000,hostfwd=tcp:127.0.0.1:${port[sink]}-:$(lab_port sink)" -- \
		"${QEMU_ARGS[@]}" "${DISK[@]}"
	check "the VM starts" wait_ready vm
	check "half of the disk is read" order "disk $((32 << 20))"
	check "not owned" not_owned "${port[fig2]}" fig2 attack
	check "the attack is answered" wait_incident vm
	is "recoveries" 1 "$(status_value vm recoveries)"
	check "all of the disk is read" order "disk $((64 << 20))"
	end vm
}
