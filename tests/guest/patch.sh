# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # here is of lib.sh
# The life of a patch: it is kept, comes back by itself in VMs started later, goes to other hosts as a signed file, and into copies
# of the program for good.

# shellcheck source=tests/guest/ledger.sh
. "$here/ledger.sh"

on_newer_kernel() { IMAGE=initrd-newer.img KERNEL=vmlinuz-newer "$@"; }

patch_value() { "$CLOUDER" patch show "$1" --json | json_value "$2"; }

# A first VM NAME, in which fig2 is attacked and patched.
attacked_vm() {
	local port
	port=$(free_port)
	check "$1 starts" protected "$1" fig2 "$port:7000"
	check "$1: not owned" not_owned "$port" fig2 "$1-attack"
	check "$1: the attack is answered" wait_incident "$1"
	is "one incident" 1 "$(incident_count)"
	is "state" recovered "$(incident_value 1 state)"
}

# later_vm NAME PROGRAM INCIDENTS: a VM that is attacked for the first time, and is not hurt; the store has so many
# incidents, and gets no more.
later_vm() {
	local port pid
	port=$(free_port)
	check "$1 starts" protected "$1" "$2" "$port:$(port_of "$2")" --verbose
	pid=$(fact "$port" pid)
	check "$1: benign requests" benign "$port" 18 "$1-benign"
	check "$1: not owned" not_owned "$port" fig2 "$1-attack"
	check "$1: the service answers the attack" service_answered "$1-attack"
	is "$1: no new incident" "$3" "$(incident_count)"
	is "$1: detections" 0 "$(status_value "$1" detections)"
	is "$1: the same process" "$pid" "$(fact "$port" pid)"
	check "$1: benign requests after it" benign "$port" 18 "$1-after"
	check "$1: the same answers" same_file "$1-benign" "$1-after"
}

note_costs() {
	echo "note: $(grep -o 'looked for.*' "$T/$1.log" | sort | uniq -c | sort -rn | head -n 2 | tr -s ' \n' ' ')"
	echo "note: $(grep -o 'patches of the store were put in.*' "$T/$1.log")"
}

patch_comes_back() {
	attacked_vm first
	is "a patch is kept" active "$(patch_value 1 state)"
	is "its file" /bin/fig2 "$(patch_value 1 path)"
	is "its build-id" "$(incident_value 1 build_id)" "$(patch_value 1 build_id)"
	is "its incident" 1 "$(patch_value 1 incident)"
	end first
	later_vm second fig2 1
	check "it was put in before" between 1 9 "$(status_value second patches)"
	check "the supervisor says so" grep -q 'patches of the store were put in' "$T/second.log"
	note_costs second
	# The twin: another build, where nothing of it may go.
	later_vm third fig2-fixed 1
	is "nothing is put into another build" 0 "$(status_value third patches)"
	end second
	end third
}

test_patch_comes_back() { patch_comes_back; }
test_patch_comes_back_newer_kernel() { on_newer_kernel patch_comes_back; }

# times_ready NAME TIMES: so often the guest's services have come up.
times_ready() { [ "$(grep -ac '^guest: ready' "$T/$1.console")" -eq "$2" ]; }

# The guest reboots: its memory is new, its kernel is elsewhere, and what was patched is patched again.
patch_reboot() {
	local port ledger before_boot number
	port=$(free_port)
	ledger=$(free_port)
	qemu_args "fig2,fig2-ledger clouder.reboot"
	: >"$T/vm.console"
	launch_as vm "$CLOUDER" run --name vm --console "$T/vm.console" --net "user$(forwards "$port:7000 $ledger:7009")" --checkpoints 64 -- \
		"${QEMU_ARGS[@]/-no-reboot/-no-shutdown}"
	check "the VM starts" wait_ready vm
	before_boot=$(fact "$port" boot_id)
	check "benign requests" benign "$port" 18 before
	check "not owned" not_owned "$port" fig2 attack
	check "the attack is answered" wait_incident vm
	number=$("$CLOUDER" checkpoint vm --json | json_value number)
	timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$ledger" "echo quit" >/dev/null 2>&1
	check "the guest reboots" settled times_ready vm 2
	check "it is another boot" [ "$before_boot" != "$(fact "$port" boot_id)" ]
	check "the new process runs patched code" settled runs vm true
	check "not owned again" not_owned "$port" fig2 attack2
	check "the service answers the attack" service_answered attack2
	is "incidents" 1 "$(incident_count)"
	check "benign requests after it" benign "$port" 18 after
	check "the same answers" same_file before after
	is "boots" 1 "$(status_value vm boots)"
	# Back to the kernel of before, in which the patch was in place.
	check "back over the reboot" "$CLOUDER" rollback vm "$number" --drop
	is "it is the boot of before" "$before_boot" "$(fact "$port" boot_id)"
	check "the process runs patched code" settled runs vm true
	check "not owned" not_owned "$port" fig2 attack3
	check "the service answers the attack" service_answered attack3
	is "incidents" 1 "$(incident_count)"
	end vm
}

test_patch_reboot() { patch_reboot; }
test_patch_reboot_newer_kernel() { on_newer_kernel patch_reboot; }

# runs VM PATCHED: the one process that runs patch 1's file is patched, "true" or "false".
runs() {
	[ "$("$CLOUDER" patch verify 1 "$1" --json | grep -c '"pid"')" -eq 1 ] &&
		[ "$("$CLOUDER" patch verify 1 "$1" --json | json_value patched)" = "$2" ]
}

patch_revert() {
	local port pid
	port=$(free_port)
	check "the VM starts" protected vm fig2 "$port:7000"
	pid=$(fact "$port" pid)
	check "benign requests" benign "$port" 18 before
	check "not owned" not_owned "$port" fig2 attack
	check "the attack is answered" wait_incident vm
	check "the process runs patched code" runs vm true
	for id in $(patch_ids); do
		check "patch $id is reverted" "$CLOUDER" patch revert "$id"
	done
	check "not twice" refused 'reverted already' revert 1
	check "the process runs its own code again" settled runs vm false
	check "in no process is it said to be in place" settled status_is vm patches 0
	is "the same process" "$pid" "$(fact "$port" pid)"
	check "benign requests after it" benign "$port" 18 after
	check "the same answers" same_file before after
	# The hole is back: the attack is one again, and is patched anew.
	check "not owned again" not_owned "$port" fig2 attack2
	check "it is another incident" wait_incident vm 2
	is "state" recovered "$(incident_value 2 state)"
	is "strategy" store-guard "$(incident_value 2 strategy)"
	check "the service answers the next" not_owned "$port" fig2 attack3
	is "which is no incident" 2 "$(incident_count)"
	end vm
}

test_patch_revert() { patch_revert; }
test_patch_revert_newer_kernel() { on_newer_kernel patch_revert; }

status_is() { [ "$(status_value "$1" "$2")" = "$3" ]; }

# refused REGEX ARGUMENTS...: `clouder patch` does not do it, and says why in one line.
refused() {
	local status=0
	"$CLOUDER" patch "${@:2}" >"$T/said" 2>&1 || status=$?
	[ "$status" -eq 1 ] && one_line "$T/said" "$1"
}

# With respond = ask the VM is protected, and its program as it was, until the operator approves of the patch.
patch_ask() {
	local port pid ids
	port=$(free_port)
	check "the VM starts" protected vm fig2 "$port:7000" --respond ask
	pid=$(fact "$port" pid)
	check "benign requests" benign "$port" 18 before
	check "not owned" not_owned "$port" fig2 attack
	check "the attack is answered" wait_incident vm
	is "state" recovered "$(incident_value 1 state)"
	is "the patch" proposed "$(incident_value 1 patch_state)"
	is "its number" 1 "$(incident_value 1 patch_id)"
	is "its state" proposed "$(patch_value 1 state)"
	check "it is said how to put it in" grep -q "put it in with 'clouder patch approve 1'" "$T/vm.out"
	check "the process runs its own code" settled runs vm false
	is "the same process" "$pid" "$(fact "$port" pid)"
	ids=$(patch_ids)
	check "not owned again" not_owned "$port" fig2 attack2
	check "it is another incident" wait_incident vm 2
	is "and the same proposal" "$ids" "$(patch_ids)"
	is "of the same patch" 1 "$(incident_value 2 patch_id)"
	check "the process runs its own code still" settled runs vm false
	check "benign requests without it" benign "$port" 18 without
	# shellcheck disable=SC2086 # several
	check "it is approved" "$CLOUDER" patch approve $ids
	check "not twice" refused 'patch 1 is active: only one that is proposed' approve 1
	check "the process runs patched code" settled runs vm true
	check "its history says so" grep -q ' approved$' <("$CLOUDER" patch show 1)
	check "not owned" not_owned "$port" fig2 attack3
	check "the service answers the attack" service_answered attack3
	# shellcheck disable=SC2046 # several
	check "it is reverted" "$CLOUDER" patch revert $(echo "$ids" | tac)
	check "the process runs its own code again" settled runs vm false
	check "nor is it proposed any more" refused 'patch 1 is reverted: .*clouder patch apply' approve 1
	# shellcheck disable=SC2086
	check "it is applied" "$CLOUDER" patch apply $ids
	check "the process runs patched code again" settled runs vm true
	check "not owned at last" not_owned "$port" fig2 attack4
	check "the service answers the last attack" service_answered attack4
	is "incidents" 2 "$(incident_count)"
	is "the same process at the end" "$pid" "$(fact "$port" pid)"
	check "benign requests after it" benign "$port" 18 after
	check "the same answers" same_file before after
	check "the same answers without the patch" same_file before without
	end vm
}

test_patch_ask() { patch_ask; }
test_patch_ask_newer_kernel() { on_newer_kernel patch_ask; }

# all_run ID PATCHED NAME...: of the processes that run that patch's file, all are patched ("true") or none is ("false"); of each name
# there is one.
all_run() {
	local name
	"$CLOUDER" patch verify "$1" vm --json >"$T/verified" && [ "$(json_value patched <"$T/verified")" = "$2" ] &&
		[ "$(grep '"patched"' "$T/verified" | tr -d ' ,' | sort -u | wc -l)" -eq 1 ] || return
	for name in "${@:3}"; do
		grep -q "\"comm\": \"$name\"" "$T/verified" || return
	done
}

# harmless NAME PORT: an attack on the service that the service answers, and that is no incident more.
harmless() {
	local before program=$2
	before=$(incident_count)
	[ "$2" != copy ] || program=crowd-threads
	not_owned "${port[$2]}" "$program" "$1" && service_answered "$1" && [ "$(incident_count)" -eq "$before" ]
}

# A threaded service and a forking one share a library with an error, both under load: who patches it has patched both, and
# who reverts it has reverted both.
patch_crowd() {
	local parent
	local -A port=([crowd-threads]=$(free_port) [crowd-forks]=$(free_port) [vmilab]=$(free_port))
	check "the VM starts" protected vm "crowd-threads,crowd-forks,vmilab clouder.again" \
		"${port[crowd-threads]}:$(port_of crowd-threads) ${port[crowd-forks]}:$(port_of crowd-forks) ${port[vmilab]}:$(port_of vmilab)"
	check "clients come" begin_rounds load crowd_load "${port[crowd-threads]}" "${port[crowd-forks]}"
	check "the threaded service is not owned" not_owned "${port[crowd-threads]}" crowd-threads attack
	check "the attack is answered" wait_incident vm
	is "state" recovered "$(incident_value 1 state)"
	is "what is patched" /bin/libwire.so "$(patch_value 1 path)"
	check "clients go on" rounds_go_on load
	check "both run patched code" settled all_run 1 true crowd-threads crowd-forks
	check "an attack on the forking service is harmless" harmless attack2 crowd-forks
	check "the patches are reverted" forget_patches
	check "both run their own code" settled all_run 1 false crowd-threads crowd-forks
	check "clients go on" rounds_go_on load
	check "the forking service is not owned" not_owned "${port[crowd-forks]}" crowd-forks attack3
	check "the attack is answered" wait_incident vm 2
	is "state" recovered "$(incident_value 2 state)"
	is "another store into the object is guarded" 1 "$(incident_value 2 also_guarded)"
	check "both run patched code again" settled all_run "$(incident_value 2 patch_id)" true crowd-threads crowd-forks
	check "an attack on the threaded service is harmless" harmless attack4 crowd-threads
	check "clients go on" rounds_go_on load
	check "all were answered rightly" end_rounds load
	check "nothing died" nothing_died vm
	parent=$(fact "${port[crowd-forks]}" parent)
	check "a service is started again" in_guest restart "kill -KILL $parent"
	check "it is another process" settled eval '[ "$(fact "${port[crowd-forks]}" parent)" -gt '"$parent"' ]'
	check "both run patched code to the end" settled all_run "$(incident_value 2 patch_id)" true crowd-threads crowd-forks
	check "an attack on the new process is harmless" harmless attack5 crowd-forks
	is "incidents" 2 "$(incident_count)"
	end vm
}

test_patch_crowd() { patch_crowd; }
test_patch_crowd_newer_kernel() { on_newer_kernel patch_crowd; }

start_from_disk() {
	in_guest started "cd /clouder-data && setsid ./crowd-threads $(port_of crowd-threads) </dev/null >/dev/null 2>&1 & sync"
	settled benign "${port[crowd-threads]}" 3 answers
}

# What was patched is read from the disk again.
patch_evicted() {
	local -A port=([crowd-threads]=$(free_port) [vmilab]=$(free_port))
	make_disk disk
	check "the VM starts" protected vm "vmilab clouder.data no_timer_check" \
		"${port[crowd-threads]}:$(port_of crowd-threads) ${port[vmilab]}:$(port_of vmilab)" --disk "$T/disk"
	check "a program is on the disk" in_guest copied "cp /bin/crowd-threads /bin/libwire.so /clouder-data/; sync"
	check "it runs" start_from_disk
	check "not owned" not_owned "${port[crowd-threads]}" crowd-threads attack
	check "the attack is answered" wait_incident vm
	is "what is patched" /clouder-data/libwire.so "$(patch_value 1 path)"
	check "it runs patched code" settled all_run 1 true crowd-threads
	check_not "without having to be put in again" grep -q 'patches of the store were put in' "$T/vm.log"
	check "it ends, and the page cache is dropped" in_guest dropped \
		"kill -KILL $(fact "${port[crowd-threads]}" pid); sync; echo 3 >/proc/sys/vm/drop_caches"
	check "it runs again" start_from_disk
	check "the patch is put in again" settled grep -q 'patches of the store were put in' "$T/vm.log"
	check "it runs patched code again" settled all_run 1 true crowd-threads
	check "an attack is harmless" harmless attack2 crowd-threads
	check "benign requests" benign "${port[crowd-threads]}" 18 after
	is "incidents" 1 "$(incident_count)"
	end vm
	check "the file system is whole" fsck disk
	# The disk has what the program was, not the patch.
	check "the library on the disk" eval 'debugfs -R "dump /libwire.so $T/library" "$T/disk" 2>"$T/dump"'
	check "is as it was" eval 'strip -o "$T/stripped" "$GUEST/bin/libwire.so" && cmp "$T/library" "$T/stripped"'
}

test_patch_evicted() { patch_evicted; }
test_patch_evicted_newer_kernel() { on_newer_kernel patch_evicted; }

# start_copy DIRECTORY PORT: the threaded service runs from a copy of its files.
start_copy() {
	in_guest started "mkdir -p $1 && cp /bin/crowd-threads /bin/libwire.so $1/ && cd $1 &&
		setsid ./crowd-threads $2 </dev/null >/dev/null 2>&1 &" && settled benign "${port[copy]}" 3 answers
}

# so_many_run ID PATCHED NUMBER: so many processes run that patch's file, all patched ("true") or none ("false").
so_many_run() { all_run "$1" "$2" && [ "$(grep -c '"pid"' "$T/verified")" -eq "$3" ]; }

# A program that lies in the guest twice is patched in both places, also in one that was there before the attack on the other.
patch_copies() {
	local other
	local -A port=([crowd-threads]=$(free_port) [copy]=$(free_port) [vmilab]=$(free_port))
	other=$(($(port_of crowd-threads) + 100))
	check "the VM starts" protected vm "crowd-threads,vmilab" \
		"${port[crowd-threads]}:$(port_of crowd-threads) ${port[copy]}:$other ${port[vmilab]}:$(port_of vmilab)"
	check "a copy of the service runs beside it" start_copy /elsewhere "$other"
	check "not owned" not_owned "${port[crowd-threads]}" crowd-threads attack
	check "the attack is answered" wait_incident vm
	is "state" recovered "$(incident_value 1 state)"
	is "what is patched" /bin/libwire.so "$(patch_value 1 path)"
	check "both run patched code" settled so_many_run 1 true 2
	check "an attack on the copy is harmless" harmless attack2 copy
	check "the copy ends" in_guest ended "kill -KILL $(fact "${port[copy]}" pid)"
	check "it runs from a third place" start_copy /third "$other"
	check "both run patched code again" settled so_many_run 1 true 2
	check "an attack on it is harmless" harmless attack3 copy
	check "the patches are reverted" forget_patches
	check "both run their own code" settled so_many_run 1 false 2
	check "the copy is not owned" not_owned "${port[copy]}" crowd-threads attack4
	check "the attack is answered" wait_incident vm 2
	check "both run patched code at last" settled so_many_run "$(incident_value 2 patch_id)" true 2
	is "incidents" 2 "$(incident_count)"
	end vm
}

test_patch_copies() { patch_copies; }
test_patch_copies_newer_kernel() { on_newer_kernel patch_copies; }

# The library writes, its caller's object is overrun: how much room there is depends on who has called.
patch_libraries() {
	local name number=0 forwards=
	local -A port=() library=([crowd-loop]=loop [crowd-deep]=deep [crowd-calls]=calls [crowd-static]=deep)
	for name in "${!library[@]}"; do
		port[$name]=$(free_port)
		forwards+=" ${port[$name]}:$(port_of "$name")"
	done
	check "the VM starts" protected vm "$(echo "${!library[@]}" | tr ' ' ,)" "${forwards# }"
	for name in "${!library[@]}"; do
		number=$((number + 1))
		check "$name: benign requests" benign "${port[$name]}" 18 "$name-before"
		check "$name: not owned" not_owned "${port[$name]}" "$name" "$name-attack"
		check "$name: the attack is answered" wait_incident vm "$number"
		is "$name: state" recovered "$(incident_value "$number" state)"
		is "$name: what is patched" "/bin/libwire-${library[$name]}.so" "$(incident_value "$number" module)"
		check "$name: an attack is harmless" harmless "$name-attack2" "$name"
		check "$name: benign requests after it" benign "${port[$name]}" 18 "$name-after"
		check "$name: the same answers" same_file "$name-before" "$name-after"
	done
	end vm
}

test_patch_libraries() { patch_libraries; }
test_patch_libraries_newer_kernel() { on_newer_kernel patch_libraries; }

patch_travels() {
	attacked_vm first
	end first
	check "it is exported" "$CLOUDER" patch export 1 --output "$T/patch.json"
	check "no file is overwritten" refused 'cannot make .*File exists' export 1 --output "$T/patch.json"
	check "there is no other" refused 'there is no patch 99' export 99
	"$CLOUDER" patch key >"$T/key"
	sed '/"signature"/,/}/d; s/^  },$/  }/' "$T/patch.json" >"$T/unsigned.json"
	sed 's/"reason": "/&not /' "$T/patch.json" >"$T/changed.json"

	export CLOUDER_STATE_DIR=$T/other
	check "its key is not known elsewhere" refused 'its key is not trusted' import "$T/patch.json"
	check "it must be signed" refused 'it is not signed' import "$T/unsigned.json"
	check "nor may it be changed" refused 'changed after it was signed' import "$T/changed.json" --allow-unsigned
	is "nothing was taken" "no patches" "$("$CLOUDER" patch list)"
	mkdir -p "$CLOUDER_STATE_DIR/trusted-keys" && cp "$T/key" "$CLOUDER_STATE_DIR/trusted-keys/first.pub"
	check "it is imported" "$CLOUDER" patch import "$T/patch.json"
	is "it is active" active "$(patch_value 1 state)"
	is "once" "it is here already: patch 1 for /bin/fig2" "$("$CLOUDER" patch import --allow-unsigned "$T/unsigned.json")"
	"$CLOUDER" patch export 1 >"$T/again.json"
	check "it is handed on as it came" same_file patch.json again.json
	later_vm second fig2 0
	end second
}

test_patch_travels() { patch_travels; }
test_patch_travels_newer_kernel() { on_newer_kernel patch_travels; }

# outside NAME PROGRAM: a program runs as a service outside of any VM, on PORT.
outside() {
	PORT=$(free_port)
	start "$1" "$2" "$PORT"
	check "$1 runs outside" settled "$GUEST/ask" "127.0.0.1:$PORT" facts
}

# What healed the program in a VM heals a copy of its file, which runs without CloudER.
patch_elf() {
	local name
	attacked_vm first
	end first
	check "the program has a patched copy" "$CLOUDER" patch export 1 --elf "$GUEST/bin/fig2" --output "$T/copy"
	check "a stripped one" strip "$T/copy" -o "$T/stripped"
	check "not over a file" refused 'cannot make .*File exists' export 1 --elf "$GUEST/bin/fig2" --output "$T/copy"
	check "not of another build" refused 'does not have the build-id' export 1 --elf "$GUEST/bin/fig2-fixed" --output "$T/other"
	check_not "nothing was made" [ -e "$T/other" ]
	# The twin: the program as it was built.
	outside original "$GUEST/bin/fig2"
	check "original: benign requests" benign "$PORT" 18 original-benign
	check "original: owned" owned "$PORT" fig2 original-attack
	for name in copy stripped; do
		outside "$name" "$T/$name"
		check "$name: benign requests" benign "$PORT" 18 "$name-benign"
		check "$name: the same answers" same_file original-benign "$name-benign"
		check "$name: not owned" not_owned "$PORT" fig2 "$name-attack"
		check "$name: the service answers the attack" service_answered "$name-attack"
		check "$name: benign requests after it" benign "$PORT" 18 "$name-after"
		check "$name: the same answers" same_file original-benign "$name-after"
		stop "$name"
	done
	check "readelf has nothing to say" readelf -aW "$T/copy" >"$T/readelf" 2>&1
	check_not "no warnings" grep -E 'Error|Warning' "$T/readelf"
	for id in $(patch_ids); do
		check "patch $id is reverted" "$CLOUDER" patch revert "$id"
	done
	check "one that is reverted is in no copy" refused 'patch 1 is reverted' export 1 --elf "$GUEST/bin/fig2" --output "$T/other"
}

test_patch_elf() { patch_elf; }
test_patch_elf_newer_kernel() { on_newer_kernel patch_elf; }
