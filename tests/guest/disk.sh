# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # pid_of is of lib.sh
# Disks that the guest writes to: what is on them after an attack is what a correct history gives.

# shellcheck source=tests/guest/ledger.sh
. "$here/ledger.sh"

test_disk_attacked() {
	local port before=12
	port=$(free_port)
	make_disk disk
	check "the VM starts" on_disk vm "$port" disk,id=ledger
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
test_disk_benign() {
	local port n
	make_disk disk
	for n in 1 2; do
		port=$(free_port)
		check "run $n: the VM starts" on_disk "vm$n" "$port" disk
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
test_disk_engine_killed() {
	local port i kills=${KILLS:-2}
	port=$(free_port)
	make_disk disk
	check "the VM starts" on_disk vm "$port" disk
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

# What is no disk of CloudER's is refused, and says which option to use; so is an image that somebody else has.
test_disk_refused() {
	qemu_args none
	make_disk disk
	printf 'QFI\373' >"$T/qcow"
	truncate --size 1M "$T/qcow"
	run_refused "a qcow2 image" 1 'looks like a qcow2 image: say format=qcow2' --disk "$T/qcow"
	run_refused "no image" 1 'No such file' --disk "$T/none"
	run_refused "an option that is none" 2 'is unknown: FILE' --disk "$T/disk,cache=none"
	check "a VM with the disk starts" protected vm echo "" --disk "$T/disk"
	run_refused "a disk in use" 1 'is in use by another VM or program' --name other --disk "$T/disk"
	end vm
}

# run_refused TEXT STATUS REGEX OPTION...
run_refused() {
	local status=0
	timeout "$LIMIT" "$CLOUDER" run "${@:4}" -- "${QEMU_ARGS[@]}" </dev/null >"$T/refused.out" 2>"$T/refused.err" || status=$?
	is "$1: exit code" "$2" "$status"
	check "$1: one clear line" one_line "$T/refused.err" "^clouder: error: .*$3"
}
