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
		smp4 * lock-@(add|add-value|xadd-sum|or|bts|inc|cmpxchg-stays) of an atomic operation the emulator tells the operand as the value stored, and the new one as loaded
		smp4 * crowd-counter of an atomic operation the emulator tells the operand as the value stored, and the new one as loaded
		* * lock-cmpxchg-gone memory's labels stay when compare-and-exchange succeeds
		* * signals-registers vector registers are not followed through the state area of a signal frame
		* * switches-registers vector registers are not followed through the state area of a context switch
		* * fault-store-16 vector registers are not followed through the state area of a signal frame
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
