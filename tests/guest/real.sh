# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034 # IMAGE is for the VMs
# Programs of Debian with known errors, unmodified, and re-creations of the classic ones (doc/attacks.md): that the attacks are
# real, that the fixed twins are right, and that what is attacked under CloudER is healed.

# "NAME PORT" of what the image has.
real_rows() { awk '$1 == "real" || $1 == "debian" { print $2, $3 }' "$TOP/guests/programs.txt"; }
real_port() { real_rows | awk -v name="$1" '$1 == name { print $2 }'; }

# real_benign PORT SERVICE FILE [COUNT]
real_benign() { timeout "$LIMIT" "$GUEST/benign-real" "127.0.0.1:$1" "$2" 1 "${4:-5}" >"$T/$3"; }

# The binary that an attacker has a copy of: the server, or the command that it starts.
attacked_binary() {
	if [[ $1 == ncompressd* ]]; then echo "$GUEST/bin-real/${1/d/}"; else echo "$GUEST/bin-real/$1"; fi
}

# What exploit-server calls a service, and what benign-real does.
kind_of() {
	case $1 in
	webserv*) echo web ;;
	ftpserv*) echo ftp ;;
	ncompressd*) echo ncompress ;;
	*) echo "${1%%-*}" ;;
	esac
}

# Position-independent builds can only be crashed.
crash_only() { readelf -h "$1" | grep -q 'Type:.*DYN'; }

# server_attack PORT SERVICE FILE: 0: it did what it is for, as far as it says.
server_attack() {
	local binary
	local -a more=()
	binary=$(attacked_binary "$2")
	! crash_only "$binary" || more=(--crash)
	timeout "$LIMIT" "$GUEST/exploit-server" "127.0.0.1:$1" --binary "$binary" "$(kind_of "$2")" "${more[@]}" >"$T/$3" 2>&1
}

real_attack() { timeout "$LIMIT" "$GUEST/exploit-real" "127.0.0.1:$1" "$2" >"$T/$3" 2>&1; }

# Calls that sngrep has counted.
dialogs() { grep -aoE 'Dialog count: [0-9]+' "$1" | tail -n 1 | grep -oE '[0-9]+$'; }
counted() { [ "$(dialogs "$1")" = "$2" ]; }

deaths() { grep -acE "^guest: $1 (killed|exited)" "$T/plain.log"; }
died() { [ "$(deaths "$1")" -eq "$2" ]; }

# A server that is taken over says so and exits; a command of ncompressd's tells it, or how it died; what crashes is killed.
attack_works() {
	local name=$1 port=$2
	check "$name: benign" settled real_benign "$port" "$(kind_of "$name")" benign
	check "$name: attack" server_attack "$port" "$name" attack || cat "$T/attack"
	if [[ $name == ncompressd* ]]; then
		check "$name: the command was hit" grep -qE 'came back: (OWNED|died 6)' "$T/attack"
	else
		check "$name: the server ends" settled died "$name" 1
	fi
	check "$name: benign again" settled real_benign "$port" "$(kind_of "$name")" benign
}

# Under plain QEMU every attack takes its program over or ends it; the guest starts it again.
test_real_attacks_are_real() {
	local IMAGE=initrd-real.img name port forwards='' names='' attack n=0
	local -A ports
	while read -r name port; do
		[[ $name != sngrep && $name != *-fixed ]] || continue
		ports[$name]=$(free_port)
		forwards+=" ${ports[$name]}:$port"
		names+=,$name
	done < <(real_rows)
	plain_vm plain "${names#,} clouder.again" "${forwards# }"
	check "the VM starts" wait_line plain '^guest: ready'
	for name in "${!ports[@]}"; do
		[[ $name != rigctld && $name != sngrep-counts ]] || continue
		attack_works "$name" "${ports[$name]}"
	done
	port=${ports[rigctld]}
	check "rigctld: benign" real_benign "$port" rigctld benign
	check "rigctld: attack" real_attack "$port" rigctld attack
	check "rigctld ends" settled died rigctld 1
	check "rigctld: benign again" settled real_benign "$port" rigctld benign
	port=${ports[sngrep-counts]}
	for attack in sngrep-call-id sngrep-warning; do
		n=$((n + 1))
		check "$attack" real_attack "$port" "$attack" attack
		check "$attack: it ends" settled died sngrep-counts "$n"
	done
	stop plain
}

# The attacker at home: what takes the others over does nothing to the fixed ones.
test_real_twins_are_right() {
	local name status
	for name in webserv-fixed ftpserv-fixed; do
		status=0
		timeout "$LIMIT" "$GUEST/exploit-server" - --binary "$GUEST/bin-real/$name" "$(kind_of "$name")" --crash >"$T/out" 2>&1 ||
			status=$?
		is "$name" 3 "$status"
	done
}

# culprit_calls ID BINARY REGEX: the culprit is a call of a function that is called so, as the disassembler sees it.
culprit_calls() {
	local at off vaddr
	at=$(incident_value "$1" culprit_offset)
	read -r off vaddr < <(readelf -lW "$2" | awk '$1 == "LOAD" && /R E/ { print $2, $3 }')
	[ -n "$at" ] || return 1
	at=$((at - off + vaddr))
	objdump -d --no-show-raw-insn --start-address="$at" --stop-address=$((at + 15)) "$2" |
		grep -m 1 -E "^ +$(printf '%x' "$at"):" | grep -qE "call .*<($3)(@plt)?>"
}

# incident_is ID MODULE REGEX: patched in this module, at a call of such a function.
incident_is() {
	is "incident $1: state" recovered "$(incident_value "$1" state)"
	is "incident $1: no failure" "" "$(incident_value "$1" failure)"
	is "incident $1: module" "$2" "$(incident_value "$1" module)"
	check "incident $1: the culprit is a call of $3" culprit_calls "$1" "$GUEST/bin-real/${2##*/}" "$3"
	check "incident $1: guard of at most 96 bytes" between 1 96 "$(incident_value "$1" guard_len)"
	check "incident $1: at most 16 bytes replaced" between 5 16 "$(incident_value "$1" bug_len)"
}

nothing_died() { ! grep -aE '^guest: .* (killed|exited)' "$T/$1.console"; }

# heals_server SERVICE CALLEE
heals_server() {
	local IMAGE=initrd-real.img port kind module=/bin/$1
	port=$(free_port) kind=$(kind_of "$1")
	[[ $1 != ncompressd* ]] || module=/bin/${1/d/}
	check "the VM starts" protected vm "$1" "$port:$(real_port "$1")"
	check "benign requests" real_benign "$port" "$kind" before
	is "no incident" 0 "$(incident_count)"
	server_attack "$port" "$1" attack
	check "not owned" grep -q '^not owned' "$T/attack"
	check "the attack is answered" wait_incident vm
	incident_is 1 "$module" "$2"
	server_attack "$port" "$1" attack2
	check "the second attack does not own" grep -q '^not owned' "$T/attack2"
	check "it is answered by the server" grep -q '^came back: [^d]' "$T/attack2"
	check "benign requests again" real_benign "$port" "$kind" after
	check "the same answers" same_file before after
	is "one incident" 1 "$(incident_count)"
	check "nothing died" nothing_died vm
	end vm
}

test_real_web() { heals_server webserv '(__)?sprintf(_chk)?'; }
test_real_web_32() { heals_server webserv-32 '(__)?sprintf(_chk)?'; }
test_real_web_hard() { heals_server webserv-hard '(__)?sprintf(_chk)?'; }
test_real_ftp() { heals_server ftpserv '(__)?vsnprintf(_chk)?|line_reply'; }
test_real_ftp_32() { heals_server ftpserv-32 '(__)?vsnprintf(_chk)?|line_reply'; }
test_real_ftp_hard() { heals_server ftpserv-hard '(__)?vsnprintf(_chk)?|line_reply'; }
test_real_ncompress() { heals_server ncompressd '(__)?st[rp]cpy(_chk)?'; }
test_real_ncompress_32() { heals_server ncompressd-32 '(__)?st[rp]cpy(_chk)?'; }
test_real_ncompress_hard() { heals_server ncompressd-hard '(__)?st[rp]cpy(_chk)?'; }

test_real_rigctld() {
	local IMAGE=initrd-real.img port
	port=$(free_port)
	check "the VM starts" protected vm rigctld "$port:4532"
	check "benign requests" real_benign "$port" rigctld before
	check "attack" real_attack "$port" rigctld attack
	check "the attack is answered" wait_incident vm
	incident_is 1 /debian/usr/bin/rigctld '__isoc99_fscanf'
	check "attack again" real_attack "$port" rigctld attack2
	check "benign requests again" real_benign "$port" rigctld after
	check "the same answers" same_file before after
	is "one incident" 1 "$(incident_count)"
	check "nothing died" nothing_died vm
	end vm
}

# It answers nothing: that it lives is seen by what it counts.
test_real_sngrep() {
	local IMAGE=initrd-real.img port n
	port=$(free_port)
	check "the VM starts" protected vm sngrep-counts "$port:9060/udp"
	check "benign packets" real_benign "$port" sngrep before 3
	check "they are counted" settled counted "$T/vm.console" 3
	check "a long Call-ID" real_attack "$port" sngrep-call-id attack
	check "the attack is answered" wait_incident vm 1
	incident_is 1 /debian/usr/bin/sngrep '__strncpy_chk'
	check "its call is counted" settled counted "$T/vm.console" 4
	check "a long Warning" real_attack "$port" sngrep-warning attack
	check "the attack is answered" wait_incident vm 2
	incident_is 2 /debian/usr/bin/sngrep '__strncpy_chk'
	check "its call is counted" settled counted "$T/vm.console" 5
	for n in sngrep-call-id sngrep-warning; do
		check "$n again" real_attack "$port" "$n" attack2
	done
	check "one more benign packet" timeout "$LIMIT" "$GUEST/benign-real" "127.0.0.1:$port" sngrep 7 1
	check "it is counted" settled counted "$T/vm.console" 6
	is "two incidents" 2 "$(incident_count)"
	check "nothing died" nothing_died vm
	end vm
}
