# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What `clouder vmi` says of a guest, against what the guest's own kernel says of itself, on three kernels.

# shellcheck source=tests/guest/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

PROCESSES=500

# stays NAME SCRIPT WORD: as in_guest, for a script that says WORD and stays until the connection to it, NAME, is closed.
stays() {
	local said connection
	exec {connection}<>"/dev/tcp/127.0.0.1/${port[vmilab]}" || return
	printf 'exec %s\n' "$2" >&"$connection"
	read -r -t "$LIMIT" -u "$connection" said
	[ "$said" = "$3" ]
}

# Lines "PID PARENT UID NAME" of processes, or of their threads: as the guest's kernel tells them. What it is about to do is no
# part of a worker's name, and what has more than 15 letters is cut in memory.
guest_processes() {
	in_guest "$1" "awk '/^Name:/ { name = substr(\$2, 1, 15) } /^Pid:/ { pid = \$2 } /^PPid:/ { parent = \$2 }
		/^Uid:/ { print pid, parent, \$2, name }' $2 2>/dev/null" &&
		sed -i '/kworker/s/[-+][^ ]*$//' "$T/$1" && sort -o "$T/$1" "$T/$1"
}

# vmi FILE ARGUMENTS...: what clouder says goes to a file; it must have found all in order.
vmi() {
	"$CLOUDER" vmi "${@:2}" >"$T/$1" || return
	! grep 'in the midst' "$T/$1"
}

# subset FILE FILE: no line of the first is missing in the second.
subset() {
	local missing
	missing=$(comm -23 "$T/$1" "$T/$2")
	[ -z "$missing" ] || echo "only in $1: $missing"
	[ -z "$missing" ]
}

# What was there before and after is listed, and nothing is that was there neither time.
threads_match() {
	guest_processes before '/proc/[0-9]*/task/*/status' && vmi seen ps vm --threads &&
		guest_processes after '/proc/[0-9]*/task/*/status' || return
	awk 'NR > 1 { print $2, $3, $4, $6 }' "$T/seen" | sed '/kworker/s/[-+][^ ]*$//' | sort >"$T/listed"
	comm -12 "$T/before" "$T/after" >"$T/stayed"
	cut -d ' ' -f 1 "$T/before" "$T/after" | sort -u >"$T/known"
	cut -d ' ' -f 1 "$T/listed" | sort -u >"$T/pids"
	[ "$(wc -l <"$T/stayed")" -ge 30 ] && subset stayed listed && subset pids known
}

# Of the threads those are processes that have the process's number. Shells of the test come and go.
processes_match() {
	awk 'NR > 1 && $1 == $2 && !/\[kernel\]| (sh|awk) / { print $1, $3, $4, $6, $7 }' "$T/seen" >"$T/wanted"
	vmi seen ps vm && awk 'NR > 1 && !/\[kernel\]| (sh|awk) / { print $1, $2, $3, $5, $6 }' "$T/seen" >"$T/got"
	same_file wanted got && [ "$(wc -l <"$T/got")" -ge 4 ]
}

# The paths of programs. An ended process has none.
programs_match() {
	in_guest links 'cd /proc && ls -l [0-9]*/exe 2>/dev/null' && vmi seen ps vm || return
	sed -n 's,.* \([0-9]*\)/exe -> ,\1 ,p' "$T/links" | grep -v busybox | sort >"$T/programs"
	awk 'NR > 1 { print $1, $6 }' "$T/seen" | sort >"$T/listed"
	[ "$(wc -l <"$T/programs")" -ge 3 ] && subset programs listed
}

pid_in_guest() { awk -v name="$1" '$5 == substr(name, 1, 15) { print $1; exit }' "$T/seen"; }

# maps_match PROGRAM: the mappings of one that was listed.
maps_match() {
	local pid
	pid=$(pid_in_guest "$1")
	in_guest maps "cat /proc/$pid/maps" && vmi mapped maps "$pid" vm || return
	sed '/vsyscall/d' "$T/maps" | awk '{ sub(/^0*/, "", $3); print $1, $2, ($3 == "" ? "0" : $3), $6 }' >"$T/wanted"
	sed 's/0x//g' "$T/mapped" | awk '{ print $1, $2, $3, $5 }' >"$T/got"
	same_file wanted got && [ "$(wc -l <"$T/got")" -ge 10 ]
}

# The program's own build-id stands beside each of its mappings, and the C library has one.
build_ids_match() {
	local id
	id=$(readelf -n "$GUEST/bin/$1" | sed -n 's/.*Build ID: //p')
	[ -n "$id" ] && [ "$(grep -c " $id /bin/$1\$" "$T/mapped")" -ge 4 ] && grep -qE ' [0-9a-f]{40} /.*/libc\.so' "$T/mapped"
}

# refused TEXT COMMAND...: a look that fails, with one line that says why.
refused() {
	! "$CLOUDER" vmi "${@:2}" >"$T/refused.out" 2>"$T/refused" && one_line "$T/refused" "$1"
}

# many_processes: the list of so many is whole, and does not keep the VM long.
many_processes() {
	"$CLOUDER" vmi ps vm --json >"$T/many" || return
	PAUSE=$(json_value paused_us <"$T/many")
	[ "$(json_value complete <"$T/many")" = true ] && [ "$(grep -c '"comm": "vmilab"' "$T/many")" -ge "$PROCESSES" ]
}

# registers_match: system call, its arguments, stack pointer and instruction of each of the six threads that wait, as the guest's
# kernel tells them.
registers_match() {
	local pid
	pid=$(awk '$7 == "/bin/vmilab" && $6 == "thread-1" { print $1 }' "$T/threads")
	in_guest wanted "for i in /proc/$pid/task/*; do echo \${i##*/} \$(cat \$i/syscall); done | sort -n" &&
		vmi waiting threads "$pid" vm || return
	sed -i 's/0x0*/x/g' "$T/wanted"
	sed 's/0x0*/x/g' "$T/waiting" | awk '/: in the kernel, / { tid = $1; number = $NF; next }
		{ for (i = 1; i < NF; i += 2) has[$i] = $(i + 1) }
		"r15" in has { print tid, number, has["rdi"], has["rsi"], has["rdx"], has["r10"], has["r8"], has["r9"],
			has["rsp"], has["rip"]; delete has }' >"$T/got"
	same_file wanted got && [ "$(wc -l <"$T/got")" -eq 6 ]
}

# One that does nothing but compute is on the processor whenever that has nothing else to do.
is_on_processor() { vmi spun threads "$1" vm && grep -q ': on a processor; when it last came' "$T/spun"; }

computing() {
	local pid
	stays spinner "sh -c 'echo \$\$ >/tmp/spinner; echo spinning; while :; do :; done'" spinning &&
		in_guest pid 'cat /tmp/spinner' && settled is_on_processor "$(cat "$T/pid")"
}

# The mappings of a process that are called so: START.
mapping_of() { awk -v name="$1" -v rights="$2" '$5 == name && $2 == rights { split($1, at, "-"); print at[1]; exit }' "$T/mapped"; }

# read_matches PROGRAM: what its code is, as the guest's kernel tells it.
read_matches() {
	local pid at
	pid=$(pid_in_guest "$1")
	at=$(mapping_of "/bin/$1" r-xp)
	in_guest wanted "dd if=/proc/$pid/mem bs=4096 skip=$((at / 4096)) count=1 2>/dev/null" &&
		"$CLOUDER" vmi read "$pid" "$((at + 16))" 4000 vm --raw >"$T/got" || return
	dd if="$T/wanted" bs=16 skip=1 count=250 of="$T/wanted16" 2>/dev/null
	same_file wanted16 got && [ "$(wc -c <"$T/got")" -eq 4000 ]
}

# absent_is_told PROGRAM: the stack's last page is there, its first is not, and before all there is nothing.
absent_is_told() {
	local pid at
	pid=$(pid_in_guest "$1")
	at=$(mapping_of '[stack]' rw-p)
	vmi missing read "$pid" "$((at - 4096))" 8192 vm && grep -q '  4096 bytes are not mapped$' "$T/missing" &&
		grep -q '  4096 bytes are not in memory$' "$T/missing" &&
		refused '8192 of 8192 bytes are not in the guest.s memory' read "$pid" "$((at - 4096))" 8192 vm --raw &&
		[ "$(wc -c <"$T/refused.out")" -eq 8192 ]
}

test_vmi_processes() {
	declare -gA port=()
	check "the VM starts" lab_vm vmilab,taintlab-dynamic
	check "a process with threads" stays threads "vmilab threads 5" running
	check "threads" threads_match
	cp "$T/seen" "$T/threads"
	is "the five with a name" 5 "$(grep -c ' thread-[1-5] .* /bin/vmilab$' "$T/seen")"
	check "processes" processes_match
	check "their programs" programs_match
	check "their registers" registers_match
	check "mappings" maps_match taintlab-dynamic
	check "build-ids" build_ids_match taintlab-dynamic
	check "memory" read_matches taintlab-dynamic
	check "what is not there" absent_is_told taintlab-dynamic
	check "no such process" refused 'the guest has no process 99999$' maps 99999 vm
	check "a kernel thread" refused 'process 2 \(kthreadd\) of the guest has no memory of its own' maps 2 vm
	check "a thread that computes" computing
	check "$PROCESSES processes" stays many "vmilab spawn $PROCESSES" spawned
	check "are all listed" many_processes
	check "the pause is told" [ "${PAUSE:-0}" -gt 0 ]
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	end vm
	echo "note: $PROCESSES processes read in $PAUSE us"
}

# The table begins with places in the area of each CPU; then comes the kernel, wherever it lies.
SYMBOLS=2000

symbols_match() {
	in_guest kernels "head -n $SYMBOLS /proc/kallsyms" && vmi all symbols '*' vm || return
	sed 's/^0*\([0-9a-f]\)/0x\1/' "$T/kernels" >"$T/wanted"
	head -n "$SYMBOLS" "$T/all" >"$T/got"
	same_file wanted got && [ "$(wc -l <"$T/got")" -eq "$SYMBOLS" ] && [ "$(wc -l <"$T/all")" -ge 50000 ]
}

# modules_match AT-LEAST: name, size, state and address of the guest's modules.
modules_match() {
	in_guest loaded 'cat /proc/modules' && vmi listed modules vm || return
	awk '{ print $1, $2, tolower($5), $6 }' "$T/loaded" >"$T/wanted"
	awk 'NR > 1 { print $1, $2, $4, $3 }' "$T/listed" >"$T/got"
	same_file wanted got && [ "$(wc -l <"$T/got")" -ge "$1" ]
}

test_vmi_symbols() {
	declare -gA port=()
	check "the VM starts" lab_vm vmilab
	check "the first look" vmi first symbols _stext vm --json
	check "symbols" symbols_match
	check "modules" modules_match 3
	check "one by its name" vmi seen symbols _stext vm
	is "is that of the kernel" "$(grep ' _stext$' "$T/kernels" | sed 's/^/0x/')" "$(cat "$T/seen")"
	check "nothing is called so" vmi seen symbols no_such_symbol vm
	is "which is no line" 0 "$(wc -l <"$T/seen")"
	end vm
	echo "note: the table was found in $(json_value took_us <"$T/first") us"
}

# has_paging CPU-FLAG: the guest's kernel has two sets of page tables for each process, and levels of them as the flag says.
has_paging() {
	in_guest paging "dmesg | grep -o 'Kernel/User page tables isolation: enabled'; grep -om 1 -w la57 /proc/cpuinfo; echo" &&
		grep -q isolation "$T/paging" && [ "$(grep -x la57 "$T/paging")" = "$1" ]
}

# vmi_kernel newer|newest LA57 CPU: one VM for all of it: each view, and an attack that is healed.
vmi_kernel() {
	local attacked
	local -x IMAGE=initrd-$1.img KERNEL=vmlinuz-$1 CPU=$3
	declare -gA port=([vmilab]=$(free_port))
	attacked=$(free_port)
	check "the VM starts" protected vm "fig2,vmilab,taintlab-dynamic pti=on" \
		"$attacked:$(port_of fig2) ${port[vmilab]}:$(lab_port vmilab)"
	check "it is looked into" settled introspected
	check "its kernel" in_guest kernel 'uname -r'
	is "is the $1 one" "$(cat "$GUEST/kernel-version-$1")" "$(cat "$T/kernel")"
	check_not "and not the usual one" cmp -s "$GUEST/kernel-version" "$T/kernel"
	check "its page tables" has_paging "$2"
	check "a process with threads" stays threads "vmilab threads 5" running
	check "threads" threads_match
	cp "$T/seen" "$T/threads"
	check "their registers" registers_match
	check "processes" processes_match
	check "their programs" programs_match
	check "mappings" maps_match taintlab-dynamic
	check "build-ids" build_ids_match taintlab-dynamic
	check "memory" read_matches taintlab-dynamic
	check "what is not there" absent_is_told taintlab-dynamic
	check "symbols" symbols_match
	check "modules" modules_match 1
	check "benign requests" benign "$attacked" 18 before
	check_not "the attack does not own" owned "$attacked" fig2 attack
	check "it is answered" wait_incident vm
	is "state" recovered "$(incident_value 1 state)"
	check "guards" between 1 8 "$(status_value vm patches)"
	check "it is answered by the service" service_answered attack
	check "benign requests after it" benign "$attacked" 18 after
	check "the same answers" same_file before after
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	end vm
}

test_vmi_newer_kernel() { vmi_kernel newer "" max,la57=off; }
test_vmi_newest_kernel() { vmi_kernel newest la57 max; }
