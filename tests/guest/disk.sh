# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # pid_of is of lib.sh
# Disks that the guest writes to: what is on them after an attack is what a correct history gives.

# shellcheck source=tests/guest/ledger.sh
. "$here/ledger.sh"

test_disk_attacked() { disk_attacked raw; }
test_disk_attacked_qcow2() { disk_attacked qcow2; }

disk_attacked() {
	local port before=12
	port=$(free_port)
	make_disk disk "$1"
	check "the VM starts" on_disk vm "$port" "disk,format=$1,id=ledger"
	check "benign requests" benign "$port" "$before" first
	check "not owned" not_owned "$port" fig2-ledger attack
	check "the attack is answered" wait_incident vm
	is "recoveries" 1 "$(status_value vm recoveries)"
	check "blocks of the disk were brought back" [ "$(status_value vm blocks_undone)" -gt 0 ]
	echo "note: $(status_value vm blocks_undone) blocks brought back, recovery $(($(incident_value 1 t_recover_us) / 1000)) ms"
	check "benign requests after it" benign "$port" "$before" second
	check "the same answers" same_file first second
	quit vm "$port"
	check "nothing is left" settled nothing_left
	is "beside the disk" "$T/disk" "$(find "$T" -name '*disk*' -o -name '*undo*')"
	check "the file system is whole" fsck disk
	check "no gap in the numbers" eval 'ledger disk >"$T/lines"'
	# Between them the request that the exploit tries first, and the attack, once.
	is "lines" $((2 * before + 2)) "$(wc -l <"$T/lines")"
	is "the attack's line" 1 "$(sed -n "$((before + 2))p" "$T/lines" | grep -c '^AAAAAAAAAA')"
	is "the same requests before and after" "$(head -n "$before" "$T/lines")" "$(tail -n "$before" "$T/lines")"
}

# The twin: without an attack the same, and what was written is there in the next VM.
test_disk_benign() { disk_benign raw; }
test_disk_benign_qcow2() { disk_benign qcow2; }

disk_benign() {
	local port n
	make_disk disk "$1"
	for n in 1 2; do
		port=$(free_port)
		check "run $n: the VM starts" on_disk "vm$n" "$port" "disk,format=$1"
		check "run $n: benign requests" benign "$port" 6 "answers$n"
		is "run $n: blocks brought back" 0 "$(status_value "vm$n" blocks_undone)"
		quit "vm$n" "$port"
		check "run $n: the file system is whole" fsck disk
	done
	check "the numbers go on" eval 'ledger disk >"$T/lines"'
	is "lines" 12 "$(wc -l <"$T/lines")"
}

# Engines that die, those that wait first: the VM goes on from the newest checkpoint, and so do its disks. KILLS: how many
# times (2).
test_disk_engine_killed() { disk_engine_killed raw; }
test_disk_engine_killed_qcow2() { disk_engine_killed qcow2; }

disk_engine_killed() {
	local port i kills=${KILLS:-2}
	port=$(free_port)
	make_disk disk "$1"
	check "the VM starts" on_disk vm "$port" "disk,format=$1"
	check "benign requests" benign "$port" 60 before
	for ((i = 1; i <= kills; i++)); do
		: >"$T/after"
		# shellcheck disable=SC2046 # several
		((i % 2)) || kill -KILL $(standby_pids vm)
		check "killed under load: $i" kill_under_load "$port" 60 after
		check "the same answers" same_file before after
	done
	is "revivals" "$kills" "$(status_value vm revivals)"
	quit vm "$port"
	check "nothing is beside the disk" [ ! -e "$T/disk.clouder-rollback" ]
	check "the file system is whole" fsck disk
	check "no gap in the numbers" eval 'ledger disk >"$T/lines"'
	is "lines" $((60 * (kills + 1))) "$(wc -l <"$T/lines")"
}

# The process that has a qcow2 image dies: the guest gets I/O errors, of which the log tells once, and the VM ends as others do.
test_disk_daemon_killed() {
	local port
	port=$(free_port)
	make_disk disk qcow2
	check "the VM starts" on_disk vm "$port" disk,format=qcow2
	check "benign requests" benign "$port" 6 before
	check "its process is killed" pkill -KILL -P "${pid_of[vm]}" -f '^qemu-storage-daemon'
	timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$port" "echo lost" >/dev/null 2>&1
	check "the log says so" wait_line vm 'its qemu-storage-daemon has ended; the guest is told of an I/O error'
	end vm
	is "lines of the log about it" 1 "$(grep -c qemu-storage-daemon "$T/vm.log")"
}

# What is no disk of CloudER's is refused, and says which option to use; so is an image that somebody else has.
test_disk_refused() {
	qemu_args none
	make_disk disk
	printf 'QFI\373' >"$T/qcow"
	truncate --size 1M "$T/qcow"
	run_refused "a qcow2 image" 1 'looks like a qcow2 image: say format=qcow2' --disk "$T/qcow"
	run_refused "a qcow2 image that is none" 1 'is no qcow2 image' --disk "$T/disk,format=qcow2"
	run_refused "a damaged qcow2 image" 1 'qemu-storage-daemon cannot use it \(Unsupported' --disk "$T/qcow,format=qcow2"
	qemu-img create -q -f qcow2 -F raw -b "$T/disk" "$T/over"
	run_refused "a backing file" 1 'has a backing file, which is not followed' --disk "$T/over,format=qcow2"
	run_refused "no image" 1 'No such file' --disk "$T/none"
	run_refused "an option that is none" 2 'is unknown: FILE' --disk "$T/disk,cache=none"
	check "a VM with the disk starts" protected vm echo "" --disk "$T/disk"
	run_refused "a disk in use" 1 'is in use by another VM or program' --name other --disk "$T/disk"
	end vm
	make_disk disk2 qcow2
	check "a VM with a qcow2 disk starts" protected vm echo "" --disk "$T/disk2,format=qcow2"
	run_refused "a qcow2 disk in use" 1 'is in use by another VM or program' --name other --disk "$T/disk2,format=qcow2"
	end vm
}

# run_refused TEXT STATUS REGEX OPTION...
run_refused() {
	local status=0
	timeout "$LIMIT" "$CLOUDER" run "${@:4}" -- "${QEMU_ARGS[@]}" </dev/null >"$T/refused.out" 2>"$T/refused.err" || status=$?
	is "$1: exit code" "$2" "$status"
	check "$1: one clear line" one_line "$T/refused.err" "^clouder: error: .*$3"
}

# The image's file system is full: the guest has an I/O error, and goes on; so does the VM.
test_disk_full() {
	local port small=$T/small
	port=$(free_port)
	mkdir "$small"
	qemu_args "fig2-ledger clouder.data no_timer_check"
	: >"$T/vm.console"
	# shellcheck disable=SC2016 # for the inner shell
	launch_as vm unshare --mount sh -c 'mount -t tmpfs -o size=24m none "$1" && mke2fs -q -t ext4 -F "$1/disk" 64M >"$1/made" 2>&1 &&
		shift && exec "$@"' sh "$small" "$CLOUDER" run --name vm --console "$T/vm.console" --disk "$small/disk" \
		--net "user,hostfwd=tcp:127.0.0.1:$port-:7009" -- "${QEMU_ARGS[@]}"
	check "the VM starts" wait_ready vm
	check "benign requests" benign "$port" 12 first
	dd if=/dev/zero of="/proc/${pid_of[vm]}/root$small/full" bs=4096 2>/dev/null
	check "more of them" benign "$port" 200 more
	check "it is said" settled grep -q 'error: disk .*/disk: writing .*No space left on device; the guest is told of an I/O error' "$T/vm.log"
	echo "note: said $(wc -l <"$T/vm.log") times"
	check "the guest goes on" benign "$port" 12 second
	check "the same answers" same_file first second
	is "state" running "$(status_value vm state)"
	end vm
	check "nothing is left" settled nothing_left
}
