# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # count is of forms.sh
# A database on a disk of the VM: what it has committed is there whatever happens to the VM.

# shellcheck source=tests/attacks/forms.sh
. "$(dirname "${BASH_SOURCE[0]}")/../attacks/forms.sh"
# shellcheck source=tests/guest/ledger.sh
. "$here/ledger.sh"

# The bank's books as its customers know them.
books_of_customers() { tail -n 8 "$T/customers.out"; }

# books_of FILE PATH: the books in the guest's file system on this disk.
books_of() {
	local image
	image=$(content "$1") && debugfs -R "dump $2 $T/bank.db" "$image" 2>/dev/null
	"$GUEST/bank-client" check "$T/bank.db"
}

# Back to before the customers' last transactions, which are on the disk, and which they come with again.
takes_back_transactions() {
	local number
	number=$("$CLOUDER" checkpoint vm --json | json_value number) && rounds_go_on customers &&
		"$CLOUDER" rollback vm "$number" >"$T/back" 2>&1 && rounds_go_on customers && return
	cat "$T/back"
	return 1
}

# bank_is_attacked WORDS DISK: attacks on another service of the VM, each of which takes the disk back, while customers come.
bank_is_attacked() {
	local build=lab-O2
	PORT=$(free_port)
	bank=$(free_port)
	check "the VM starts" protected vm "$build,bankserv $1 no_timer_check" \
		"$PORT:$(lab_port "$build") $bank:$(port_of bankserv)" --disk "$2" --checkpoints 64
	check "customers come" begin_rounds customers "$GUEST/bank-client" run "127.0.0.1:$bank"
	heals_some "$build" customers
	check "a rollback" takes_back_transactions
	check "the books are whole" end_rounds customers
	check "blocks of the disk were brought back" [ "$(status_value vm blocks_undone)" -gt 0 ]
	echo "note: $(grep -c '^round' "$T/customers.out") transactions of each of 8 customers, $count recoveries, a rollback, $(status_value vm blocks_undone) blocks brought back"
}

# No transaction that was answered is lost or there twice, the database and the file system are whole.
test_database_attacked() {
	local bank count
	make_disk disk
	bank_is_attacked clouder.data "$T/disk"
	quit vm "$bank"
	check "the file system is whole" fsck disk
	is "the books on the disk" "$(books_of_customers)" "$(books_of disk /bank.db)"
}

# The same in a whole Debian, on a qcow2 image, that is shut down at the end.
test_database_in_debian() {
	local bank count
	cp --sparse=always "$GUEST/debian.qcow2" "$T/disk"
	bank_is_attacked clouder.root "$T/disk,format=qcow2"
	timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$bank" "echo quit" >/dev/null 2>&1
	check "the guest shuts down" wait_end vm
	check "the file system is whole" fsck disk
	is "the books on the disk" "$(books_of_customers)" "$(books_of disk /clouder-data/bank.db)"
}
