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

# calls SEED COUNT: a benign call, and whether there are so many then. The same again is the same call: packets may be lost.
calls() {
	timeout "$LIMIT" "$GUEST/benign-real" "127.0.0.1:$port" sngrep "$1" 1 && counted "$T/vm.console" "$2"
}

deaths() { grep -acE "^guest: $1 (killed|exited)" "$T/plain.log"; }
died() { [ "$(deaths "$1")" -ge "$2" ]; }

# Debian's rigctld may close a connection that comes as another ends (guests/benign_real.c): the attacker comes again.
# rigctld_dies N; rigctld_attacked FILE: the attack was answered or made an incident; rigctld_answers FILE: it was answered.
rigctld_dies() { real_attack "$port" rigctld attack && died rigctld "$1"; }
rigctld_answers() { real_attack "$port" rigctld "$1" && grep -q '^came back' "$T/$1"; }
rigctld_attacked() { rigctld_answers "$1" || [ "$(incident_count)" -gt 0 ]; }

# dies_by ATTACK N: a packet may be lost while the program is started anew.
dies_by() { real_attack "$port" "$1" attack && died sngrep-counts "$2"; }

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
	local IMAGE=initrd-real.img name port forwards='' names='' attack n
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
	check "rigctld: attack, it ends" settled rigctld_dies 1
	check "rigctld: benign again" settled real_benign "$port" rigctld benign
	port=${ports[sngrep-counts]}
	for attack in sngrep-call-id sngrep-warning; do
		n=$(($(deaths sngrep-counts) + 1))
		check "$attack: it ends" settled dies_by "$attack" "$n"
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

# heal PORT SERVICE N REGEX: in the VM that runs it, attacked twice; it makes incident N, at a call of such a function.
heal() {
	local kind module=/bin/$2
	kind=$(kind_of "$2")
	[[ $2 != ncompressd* ]] || module=/bin/${2/d/}
	check "$2: benign requests" real_benign "$1" "$kind" before
	is "$2: no incident by them" $(($3 - 1)) "$(incident_count)"
	server_attack "$1" "$2" attack
	check_not "$2: not owned" grep -q '^came back:.*OWNED' "$T/attack"
	check "$2: the attack is answered" wait_incident vm "$3"
	incident_is "$3" "$module" "$4"
	server_attack "$1" "$2" attack2
	check_not "$2: not owned by a second attack" grep -q '^came back:.*OWNED' "$T/attack2"
	check "$2: the service answers it" grep -q '^came back: [^d]' "$T/attack2"
	check "$2: benign requests again" real_benign "$1" "$kind" after
	check "$2: the same answers" same_file before after
	is "$2: no other incident" "$3" "$(incident_count)"
}

# heals REGEX SERVICE...: one after the other, in one VM.
heals() {
	local IMAGE=initrd-real.img name forwards='' names='' n=0 regex=$1
	local -A ports
	shift
	for name in "$@"; do
		ports[$name]=$(free_port)
		forwards+=" ${ports[$name]}:$(real_port "$name")"
		names+=,$name
	done
	check "the VM starts" protected vm "${names#,}" "${forwards# }"
	for name in "$@"; do
		heal "${ports[$name]}" "$name" $((n += 1)) "$regex"
	done
	check "nothing died" nothing_died vm
	end vm
}

test_real_web() { heals '(__)?sprintf(_chk)?' webserv webserv-32 webserv-hard; }
test_real_ftp() { heals '(__)?vsnprintf(_chk)?|line_reply' ftpserv ftpserv-32 ftpserv-hard; }
test_real_ncompress() { heals '(__)?st[rp]cpy(_chk)?' ncompressd ncompressd-32 ncompressd-hard; }

test_real_rigctld() {
	local IMAGE=initrd-real.img port
	port=$(free_port)
	check "the VM starts" protected vm rigctld "$port:4532"
	check "benign requests" real_benign "$port" rigctld before
	check "attack" settled rigctld_attacked attack
	check "the attack is answered" wait_incident vm
	incident_is 1 /debian/usr/bin/rigctld '__isoc99_fscanf'
	check "attack again, with an answer" settled rigctld_answers attack2
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
	for n in 1 2 3; do
		check "benign call $n" settled calls "$n" "$n"
	done
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
	check "one more benign call" settled calls 4 6
	is "two incidents" 2 "$(incident_count)"
	check "nothing died" nothing_died vm
	end vm
}

# real_slice SEED COUNT: rounds of benign requests to one of the services; what is wrong goes to a file of its own.
real_slice() {
	local name=${services[$1 % ${#services[@]}]}
	timeout "$LIMIT" "$GUEST/benign-real" "127.0.0.1:${ports[$name]}" "$(kind_of "$name")" "$1" "$2" 2>"$T/benign.$1" \
		>"$T/benign.$1.out" || echo "$name, seed $1: $(cat "$T/benign.$1")" >>"$T/wrong"
	rm -f "$T/benign.$1" "$T/benign.$1.out"
}

# Some REQUESTS / 10 benign requests, two to eight a round, over all services that answer, as test_lab_false_alarms; rigctld
# has one client (see above).
test_real_false_alarms() {
	local IMAGE=initrd-real.img name port rounds=$((${REQUESTS:-2000} / 40)) forwards='' names='' rigctld
	local -a services=()
	local -A ports
	while read -r name port; do
		[[ $name != sngrep* ]] || continue
		[[ $name == rigctld ]] || services+=("$name")
		ports[$name]=$(free_port)
		forwards+=" ${ports[$name]}:$port"
		names+=,$name
	done < <(real_rows)
	check "the VM starts" protected vm "${names#,}" "${forwards# }"
	LIMIT=$((LIMIT + rounds)) real_benign "${ports[rigctld]}" rigctld rigctld $((rounds / 10)) &
	rigctld=$!
	in_slices real_slice "$rounds" 5
	check "rigctld is right" wait "$rigctld"
	no_alarm
	echo "note: $rounds rounds to ${#services[@]} services, and $((rounds / 10)) to rigctld"
	end vm
}
