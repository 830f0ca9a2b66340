# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Where an instrumented emulator can go wrong: accesses across pages, instructions that fault after a part of their work,
# code that changes, signals and context switches anywhere, locked instructions and many vCPUs at once. A VM that hangs
# does not answer in time, which fails.

# shellcheck source=tests/guest/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

known_gaps() {
	cat <<-'END'
		* * fault-xchg a load that is followed by a fault of the same instruction's store has changed the register's labels
		smp1 * fault-register-kept a load that is followed by a fault of the same instruction's store has changed the register's labels
		* * lock-cmpxchg-gone memory's labels stay when compare-and-exchange succeeds
	END
}

# traps CONFIGURATION QEMU-ARGUMENTS...
traps() {
	begin_paths "$1" trapslab "${@:2}"
	all_paths "$1" trapslab 70
	end_paths "$1"
}

test_traps_smp1() { traps smp1 -cpu max; }
test_traps_smp4() { traps smp4 -cpu max -smp 4; }
