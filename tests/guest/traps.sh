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
	END
}

# traps CONFIGURATION QEMU-ARGUMENTS...
traps() {
	begin_paths "$1" trapslab "${@:2}"
	all_paths "$1" trapslab 85
	end_paths "$1"
}

test_traps_smp1() { traps smp1 -cpu max; }
test_traps_smp4() { traps smp4 -cpu max -smp 4; }

# QEMU's functions that a plugin must not call: reset and uninstall abort from a translation callback and can lock up
# against vCPUs that run (QEMU's issues 2570 and 2901).
test_traps_no_reset() {
	local imports
	imports=$(nm -D --undefined-only "$TOP/${BUILD:-build}/clouder-taint.so") || imports=
	check "the plugin uses QEMU's API" grep -q 'qemu_plugin_register_vcpu_tb_trans_cb' <<<"$imports"
	check_not "the plugin neither resets nor uninstalls itself" grep -qE 'qemu_plugin_(reset|uninstall)' <<<"$imports"
}
