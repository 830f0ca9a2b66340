# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # count is of forms.sh
# A database on a disk of the VM: what it has committed is there whatever happens to the VM.

# shellcheck source=tests/attacks/forms.sh
. "$(dirname "${BASH_SOURCE[0]}")/../attacks/forms.sh"
# shellcheck source=tests/guest/ledger.sh
. "$here/ledger.sh"

# The bank's books as its customers know them, and as they are on the disk.
books_of_customers() { tail -n 8 "$T/customers.out"; }
books_on_disk() {
	debugfs -R "dump /bank.db $T/bank.db" "$T/disk" 2>/dev/null
	"$GUEST/bank-client" check "$T/bank.db"
}

# Attacks on another service of the VM, each of which takes the disk back: no transaction that was answered is lost or there
# twice, the database and the file system are whole.
test_database_attacked() {
	local build=lab-O2 port count
	PORT=$(free_port)
	port=$(free_port)
	make_disk disk
	check "the VM starts" protected vm "$build,bankserv clouder.data no_timer_check" \
		"$PORT:$(lab_port "$build") $port:$(port_of bankserv)" --disk "$T/disk"
	check "customers come" begin_rounds customers "$GUEST/bank-client" run "127.0.0.1:$port"
	heals_some "$build" customers
	check "the books are whole" end_rounds customers
	check "blocks of the disk were brought back" [ "$(status_value vm blocks_undone)" -gt 0 ]
	echo "note: $(grep -c '^round' "$T/customers.out") transactions of each of 8 customers, $count recoveries, $(status_value vm blocks_undone) blocks brought back"
	quit vm "$port"
	check "the file system is whole" fsck disk
	is "the books on the disk" "$(books_of_customers)" "$(books_on_disk)"
}
