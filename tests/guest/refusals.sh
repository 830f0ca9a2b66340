# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # pid_of is of lib.sh
# What goes wrong on the host: each gives one clear line and an exit code that is not 0, and leaves nothing behind.
# The negative twin of them all: the same arguments without the fault start a VM, in the tests that need one.

# refused TEXT STATUS REGEX ARGUMENT...: `clouder run` with these ends so.
refused() {
	local status=0 wanted=$2
	timeout "$LIMIT" "$CLOUDER" run "${@:4}" </dev/null >"$T/refused.out" 2>"$T/refused.err" || status=$?
	is "$1: exit code" "$wanted" "$status"
	check "$1: one clear line" error_line "$T/refused.err" "$3"
	check "$1: nothing on standard output" [ ! -s "$T/refused.out" ]
	check "$1: nothing is left" settled nothing_left
}

# error_line FILE REGEX: beside the line that the VM runs there is one, and it is this.
error_line() {
	grep -v 'runs, protected$' "$1" >"$1.rest"
	one_line "$1.rest" "^clouder: error: .*$2"
}

test_refused_options() {
	qemu_args fig2
	refused "unknown option" 2 'unknown option "--frobnicate"' --frobnicate -- "${QEMU_ARGS[@]}"
	refused "no --" 2 'no arguments for QEMU' --name x
	refused "QEMU's options before --" 2 'unknown option "-m"' -m 512
	refused "a bad name" 2 'cannot name a VM' --name ../x -- "${QEMU_ARGS[@]}"
	refused "a bad choice" 2 'is not one of: auto, ask, observe' --respond maybe -- "${QEMU_ARGS[@]}"
	refused "a bad number" 2 'boot-timeout' --boot-timeout soon -- "${QEMU_ARGS[@]}"
	refused "a bad network" 2 "'bogus' is unknown: user or tap" --net bogus -- "${QEMU_ARGS[@]}"
	refused "a bad port" 2 "'99999' is not a port" --net user,hostfwd=tcp::99999-:1 -- "${QEMU_ARGS[@]}"
	refused "no configuration file" 1 "$T/none.conf: No such file" --config "$T/none.conf"
	printf '[vm]\nnane=x\n' >"$T/bad.conf"
	refused "a bad configuration file" 2 'unknown key "nane"' --config "$T/bad.conf" -- "${QEMU_ARGS[@]}"
	refused "no directory for the console" 1 'console file /nonexistent/c' --console /nonexistent/c -- "${QEMU_ARGS[@]}"
}

test_refused_qemu_arguments() {
	qemu_args fig2
	: >"$T/disk"
	refused "KVM as -accel" 1 'under -accel tcg only' -- "${QEMU_ARGS[@]}" -accel kvm
	refused "KVM as -enable-kvm" 1 'under -accel tcg only' -- "${QEMU_ARGS[@]}" -enable-kvm
	refused "KVM as a machine's property" 1 'under -accel tcg only' -- "${QEMU_ARGS[@]}" -machine q35,accel=kvm
	refused "a writable disk" 1 'can be rolled back: use clouder.s --disk FILE' -- "${QEMU_ARGS[@]}" \
		-drive "file=$T/disk,format=raw"
	refused "a writable disk as -hda" 1 'can be rolled back: use clouder.s --disk FILE' -- "${QEMU_ARGS[@]}" -hda "$T/disk"
	refused "another network" 1 'must go through CloudER' -- "${QEMU_ARGS[@]}" -nic user
	refused "more memory than there is" 1 'are free on this host: lower -m' -- "${QEMU_ARGS[@]}" -m "$(too_much_memory)"
	refused "no kernel file" 1 "could not open kernel file '$T/none'" -- -m 256 -kernel "$T/none"
}

# In MiB, twice what the host has.
too_much_memory() {
	awk '$1 == "MemTotal:" { print int($2 / 512) }' /proc/meminfo
}

test_refused_programs() {
	qemu_args fig2
	printf '#!/bin/sh\necho "QEMU emulator version 9.2.0 (Debian 1:9.2.0+ds-1)"\n' >"$T/old"
	chmod +x "$T/old"
	refused "an old QEMU" 1 'QEMU 9.2 is too old: 10.0 or later is needed' --qemu "$T/old" -- "${QEMU_ARGS[@]}"
	refused "no QEMU" 1 "cannot run $T/none: install QEMU" --qemu "$T/none" -- "${QEMU_ARGS[@]}"
	refused "something else than QEMU" 1 'does not look like QEMU' --qemu /bin/true -- "${QEMU_ARGS[@]}"
	refused "no plugin" 1 "taint plugin $T/none cannot be read" --plugin "$T/none" -- "${QEMU_ARGS[@]}"
	refused "something else than a plugin" 1 'Could not load plugin' --plugin /etc/passwd -- "${QEMU_ARGS[@]}"
}

test_refused_port_in_use() {
	local port
	port=$(free_port)
	qemu_args fig2
	start listener qemu-system-x86_64 -machine none -display none -netdev "user,id=n,hostfwd=tcp:127.0.0.1:$port-:7"
	settled eval ": 2>/dev/null <>/dev/tcp/127.0.0.1/$port"
	refused_while_listening "$port"
	stop listener
	check "the same port when it is free" protected vm fig2 "$port:7000"
	end vm
}

refused_while_listening() {
	local status=0
	timeout "$LIMIT" "$CLOUDER" run --net "user,hostfwd=tcp:127.0.0.1:$1-:7000" -- "${QEMU_ARGS[@]}" \
		</dev/null >"$T/refused.out" 2>"$T/refused.err" || status=$?
	is "a port in use: exit code" 1 "$status"
	check "a port in use: one clear line" error_line "$T/refused.err" "$1.*(in use|Address already)"
}

test_refused_no_boot() {
	head -c 100000 < <(yes garbage) >"$T/garbage"
	refused "no kernel" 1 'did not start its network device within 4 s: does it boot' --boot-timeout 4 -- \
		-m 256 -nodefaults
	refused "a kernel of garbage" 1 'did not start its network device within 4 s: does it boot' --boot-timeout 4 -- \
		-m 256 -nodefaults -kernel "$T/garbage"
}

# As a user whom the host's settings do not let have userfaultfd; what that user needs is copied to where it may read.
test_refused_no_userfaultfd() {
	local status=0 dir=$T/other
	is "vm.unprivileged_userfaultfd" 0 "$(cat /proc/sys/vm/unprivileged_userfaultfd)"
	mkdir -p "$dir"
	cp "$CLOUDER" "${CLOUDER%/*}/clouder-taint.so" "$GUEST/vmlinuz" "$GUEST/initrd.img" "$dir/"
	chmod 711 "$T"
	chown -R 65534:65534 "$dir"
	CLOUDER_RUNTIME_DIR=$dir/run CLOUDER_STATE_DIR=$dir/state timeout "$LIMIT" \
		setpriv --reuid 65534 --regid 65534 --clear-groups "$dir/clouder" run --plugin "$dir/clouder-taint.so" -- \
		-m 256 -nodefaults -kernel "$dir/vmlinuz" -initrd "$dir/initrd.img" -append console=ttyS0 \
		</dev/null >"$T/refused.out" 2>"$T/refused.err" || status=$?
	is "no userfaultfd: exit code" 1 "$status"
	check "no userfaultfd: one clear line" error_line "$T/refused.err" 'unprivileged_userfaultfd'
}

# ---- two of one name ----

test_two_of_one_name() {
	local port
	port=$(free_port)
	check "the first starts" protected vm fig2 "$port:7000"
	check "benign requests to the first" benign "$port" 9 before
	timeout "$LIMIT" "$CLOUDER" run --name vm -- "${QEMU_ARGS[@]}" </dev/null >"$T/second.out" 2>"$T/second.err"
	is "the second: exit code" 1 $?
	check "the second: one clear line" error_line "$T/second.err" \
		"a VM named \"vm\" is already running \\(pid ${pid_of[vm]}\\)"
	check "benign requests to the first go on" benign "$port" 9 after
	check "the same answers" same_file before after
	is "the first is still there" "${pid_of[vm]}" "$(status_value vm pid)"
	end vm
}

# ---- ending ----

# ended NAME STATUS: its exit code, and that nothing is left.
ended() {
	local status=0
	wait_end "$1" || status=$?
	is "$1: exit code" "$2" "$status"
	check "$1: nothing is left" settled nothing_left
}

test_end_by_signals() {
	local signal
	for signal in INT TERM HUP; do
		qemu_args echo
		: >"$T/$signal.console"
		# In the background bash ignores SIGINT; at a terminal it does not.
		launch_as "$signal" env --default-signal=INT "$CLOUDER" run --name "$signal" \
			--console "$T/$signal.console" -- "${QEMU_ARGS[@]}"
		check "$signal: the VM starts" wait_ready "$signal"
		kill -"$signal" "${pid_of[$signal]}"
		ended "$signal" 0
		check_not "$signal: no error" grep error "$T/$signal.log"
	done
}

# While QEMU starts, and while the guest boots.
test_end_early() {
	qemu_args echo
	launch_as first "$CLOUDER" run --name first -- "${QEMU_ARGS[@]}"
	settled [ -s "$CLOUDER_RUNTIME_DIR/first.lock" ]
	kill -TERM "${pid_of[first]}"
	ended first 0
	launch_as second "$CLOUDER" run --name second -- "${QEMU_ARGS[@]}"
	check "second: it runs" wait_line second 'runs, protected'
	kill -TERM "${pid_of[second]}"
	ended second 0
}

test_end_by_stop() {
	check "the VM starts" protected vm echo ""
	end vm
	check "nothing is left" settled nothing_left
	"$CLOUDER" stop vm >"$T/stop.out" 2>"$T/stop.err"
	is "to stop what does not run: exit code" 1 $?
	check "one clear line" one_line "$T/stop.err" 'VM "vm" is not running|no VM named "vm"'
}

test_guest_powers_off() {
	qemu_args none
	: >"$T/vm.console"
	QEMU_ARGS[-1]+=" panic=1 init=/nonexistent rdinit=/nonexistent"
	launch_as vm "$CLOUDER" run --name vm --console "$T/vm.console" -- "${QEMU_ARGS[@]}"
	ended vm 0
	check "it says so" grep -q 'the guest shut down' "$T/vm.log"
}

# ---- processes that are killed ----

# booted TIMES: so often the guest's services have come up.
booted() { [ "$(grep -ac '^guest: ready' "$T/vm.console")" -eq "$1" ]; }

# Before the first checkpoint the guest begins anew, twice; with one the VM would go on (engine_killed).
test_qemu_killed() {
	local port i
	port=$(free_port)
	check "the VM starts" protected vm echo "$port:7010"
	kill -KILL "$(status_value vm engine_pid)"
	check "it is switched on again" settled booted 2
	is "boots" 2 "$(status_value vm boots)"
	kill -KILL "$(status_value vm engine_pid)"
	check "and again" settled booted 3
	check "benign requests" benign "$port" 20 answers
	is "boots" 3 "$(status_value vm boots)"
	end vm
	check "QEMU died twice" [ "$(grep -c 'killed by signal 9; there is no checkpoint to go back to yet: the VM is switched on again$' "$T/vm.log")" -eq 2 ]
	check "the VM starts" protected vm echo ""
	for i in 2 3; do
		kill -KILL "$(status_value vm engine_pid)"
		check "it is switched on again" settled booted "$i"
	done
	kill -KILL "$(status_value vm engine_pid)"
	ended vm 1
	grep -v 'warning: ' "$T/vm.log" >"$T/vm.errors"
	check "one clear line" error_line "$T/vm.errors" 'QEMU was killed by signal 9, again and again before there was a checkpoint to go back to; the VM is over'
}

# KILLS: how many times (2).
test_standby_killed() {
	local port old i
	port=$(free_port)
	check "the VM starts" protected vm fig2 "$port:7000"
	check "two engines wait" settled have_standbys vm ""
	for ((i = 1; i <= ${KILLS:-2}; i++)); do
		old=$(standby_pids vm)
		# shellcheck disable=SC2086 # two words
		kill -KILL $old
		check "others take their place: $i" settled have_standbys vm "$old"
	done
	check "not owned" not_owned "$port" fig2 attack
	is "recoveries" 1 "$(status_value vm recoveries)"
	check "again two wait" settled have_standbys vm "$old"
	end vm
}

# have_standbys VM OLD: two engines wait, and none of the old ones.
have_standbys() {
	local pids pid
	pids=$(standby_pids "$1")
	[ "$(wc -w <<<"$pids")" -eq 2 ] || return
	for pid in $pids; do
		! grep -qx "$pid" <<<"$2" || return
	done
}

test_supervisor_killed() {
	local port
	port=$(free_port)
	check "the VM starts" protected vm fig2 "$port:7000"
	kill -KILL "${pid_of[vm]}"
	wait_end vm
	check "no process of it is left" settled no_engines
	is "state" dead "$("$CLOUDER" status --json | json_value state)"
	check "one of the same name starts" protected vm fig2 "$port:7000"
	check "benign requests" benign "$port" 9 answers
	end vm
}

# ---- a full disk ----

# on_small_disk COMMAND...: with a state directory of its own of 256 KiB.
on_small_disk() {
	mkdir -p "$CLOUDER_STATE_DIR"
	# shellcheck disable=SC2016 # for the inner shell
	exec unshare --mount sh -c 'mount -t tmpfs -o size=256k,mode=0700 none "$CLOUDER_STATE_DIR" && exec "$@"' sh "$@"
}

fill() { dd if=/dev/zero of="$1/full" bs=4096 2>/dev/null; return 0; }

test_full_disk_at_start() {
	qemu_args fig2
	# shellcheck disable=SC2016 # for the inner shell
	launch_as vm on_small_disk sh -c 'dd if=/dev/zero of="$CLOUDER_STATE_DIR/full" bs=4096 2>/dev/null; exec "$@"' sh \
		"$CLOUDER" run --name vm -- "${QEMU_ARGS[@]}"
	ended vm 1
	check "one clear line" error_line "$T/vm.log" 'full'
}

# The attack is answered all the same; what cannot be kept is said.
test_full_disk_later() {
	local port
	port=$(free_port)
	qemu_args fig2
	: >"$T/vm.console"
	launch_as vm on_small_disk "$CLOUDER" run --name vm --console "$T/vm.console" \
		--net "user,hostfwd=tcp:127.0.0.1:$port-:7000" -- "${QEMU_ARGS[@]}"
	check "the VM starts" wait_ready vm
	fill "/proc/${pid_of[vm]}/root$CLOUDER_STATE_DIR"
	check "not owned" not_owned "$port" fig2 attack
	is "recoveries" 1 "$(status_value vm recoveries)"
	check "it is said" grep -q 'error: the incident could not be stored: .*full' "$T/vm.log"
	check "benign requests" benign "$port" 9 answers
	end vm
}
