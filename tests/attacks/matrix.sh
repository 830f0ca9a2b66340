#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Attacks every form of the attack lab in every build under CloudER and prints a table (doc/attacks.md).
#
#   matrix.sh [--third]           with --third every third form, others in the next build
#   matrix.sh --one NUMBER BUILD  one build, in this process; the number says which third is wanted of it
#
# Environment: FORMS, BUILDS: patterns of the shell for what is wanted (all). CHUNK: forms for each VM (30). JOBS: builds
# at a time (2). BUILD (build): rows go to BUILD/attacks/NAME.tsv. Exit code 0: every combination is healed, or is listed with
# its reason in unhealed.txt.
#
# Columns: works (the attack works on an unprotected copy), seen (detector), culprit (is in the function that has the
# error), guard (bytes), dead (the second attack does nothing and makes no incident), same (benign answers before and after),
# lives (the same process). Verdicts: healed; contained (it did nothing, but no patch was made, or one that is not all of the
# above); missed (it did what it is for); n/a (does not work on this build).
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/guest/vm.sh
. "$here/../guest/vm.sh"
# shellcheck source=tests/attacks/forms.sh
. "$here/forms.sh"

one=
case ${1:-} in
--third) export THIRD=1 ;;
--one) one="$2 $3" ;;
'') ;;
*) sed -n '/^#   matrix/s/^# //p' "$0" >&2 && exit 2 ;;
esac
CHUNK=${CHUNK:-30}
GUARD_MOST=96
vm_number=0

# matches NAME PATTERNS
matches() {
	local pattern
	set -f
	for pattern in $2; do
		# shellcheck disable=SC2053 # it is a pattern
		[[ $1 != $pattern ]] || { set +f && return 0; }
	done
	set +f
	return 1
}

# The address of a file's offset in its code segment.
address_of() {
	local off vaddr
	read -r off vaddr < <(readelf -lW "$GUEST/bin-lab/$1" | awk '$1 == "LOAD" && /R E/ { print $2, $3 }')
	echo $(($2 - off + vaddr))
}

# What the culprit of a form looks like to the disassembler: a loop's store of a byte, or of the end behind them, the store of the
# index form, else a call.
culprit_kind() {
	case $1 in
	*-loop | *-count | *-gets) echo '(mov +%([abcd]l|sil|dil|bpl|r[0-9]+b)|movb +\$0x0),.*\(' ;;
	index-*) echo 'mov[lq] +\$0x1,' ;;
	*) echo '(call|jmp) ' ;;
	esac
}

# The instruction at an address.
instruction_at() {
	objdump -d --no-show-raw-insn --start-address="$2" --stop-address="$(($2 + 15))" "$GUEST/bin-lab/$1" |
		grep -m 1 -E "^ +$(printf '%x' "$2"):"
}

# culprit_right ID BUILD FUNCTIONS(,): in one of the functions, and of the right kind.
culprit_right() {
	local at begin size
	[ "$(incident_value "$1" module)" = "/bin/$2" ] || return
	at=$(incident_value "$1" culprit_offset)
	[ -n "$at" ] && at=$(address_of "$2" "$at") || return
	while read -r begin size _; do
		((16#$begin <= at && at < 16#$begin + 16#$size)) &&
			instruction_at "$2" "$at" | grep -qE "$(culprit_kind "$form")" && return
	done < <(nm -S --defined-only "$GUEST/bin-lab/$2" | grep -E " (${3//,/|})(\.[a-z0-9.]+)?\$")
	return 1
}

vm_up() {
	vm_number=$((vm_number + 1))
	VM=m$vm_number
	PORT=$(free_port)
	protected "$VM" "$1 clouder.again" "$PORT:$(lab_port "$1")" >"$T/$VM.up" && settled lab_answers
}

vm_down() {
	[ -n "${VM:-}" ] || return 0
	"$CLOUDER" stop "$VM" >"$T/stop" 2>&1 || stop "$VM"
	wait_end "$VM" >"$T/stop" 2>&1
	check "the patches are forgotten" forget_patches
	VM=
}

vm_runs() { [ "$(status_value "$VM" state 2>/dev/null)" = running ]; }
answered() { [[ $(incident_value "$1" state) =~ ^(recovered|contained|failed|observed)$ ]]; }

# What an attack that got through leaves: the marker, or another process.
got_through() {
	grep -q '^owned' "$T/$1" || [ "$(lab_ask pid)" != "$pid" ] ||
		{ grep -q '^came back: ok died' "$T/$1" && ! lab_benign 1 again "$form"; }
}

first_attack() {
	local id=$(($1 + 1))
	works=yes seen=- culprit=no guard=0 dead=no same=no lives=no reason=
	lab_exploit "$build" "$form" attack
	if [ $? -eq 3 ]; then
		works=no reason="does not work on this build"
		return
	fi
	# what is broken on the heap may come to light with the next request
	[ "$(incident_count)" -gt "$1" ] || lab_benign 5 between "$form"
	[ "$(incident_count)" -gt "$1" ] || return
	settled answered "$id" >"$T/settled"
	seen=$(incident_value "$id" detector)
	guard=$(incident_value "$id" guard_len)
	reason=$(incident_value "$id" failure)
	[ -n "$reason" ] || reason=$(incident_value "$id" strategy)
	culprit_right "$id" "$build" "$culprits" && culprit=yes
}

second_attack() {
	local count
	count=$(incident_count)
	lab_exploit "$build" "$form" attack2
	lab_benign 5 between "$form"
	! got_through attack2 && [ "$(incident_count)" -eq "$count" ] && grep -q '^came back: ok' "$T/attack2" && dead=yes
}

judge() {
	if [ "$works" = no ]; then
		verdict=n/a
	elif [ "$missed" = yes ]; then
		verdict=missed
	elif [ "$seen" != - ] && [ "$culprit$dead$same$lives" = yesyesyesyes ] && between 1 "$GUARD_MOST" "${guard:-0}"; then
		verdict=healed
	else
		verdict=contained
	fi
}

# attack_form: build, form and culprits are the caller's, who gets the number of incidents before.
attack_form() {
	local pid missed=no
	before=$(incident_count)
	rm -f "$T"/attack*
	pid=$(lab_ask pid)
	lab_benign 5 before "$form"
	first_attack "$before"
	if [ "$works" = yes ] && vm_runs; then
		settled lab_answers >"$T/settled"
		! got_through attack || missed=yes
		[ "$missed" = yes ] || second_attack
		settled lab_answers >"$T/settled"
		lab_benign 5 after "$form" && same_file before after >"$T/cmp" 2>&1 && same=yes
		if [ "$(lab_ask pid)" = "$pid" ]; then lives=yes; else missed=yes; fi
	fi
	judge
}

print_row() { printf '%-18s %-30s %-5s %-18s %-7s %5s %-4s %-4s %-5s %-9s %s\n' "$@"; }

listed() {
	local b f reason
	while read -r b f reason; do
		[[ $b == '#'* || -z $b ]] && continue
		# shellcheck disable=SC2053 # they are patterns
		[[ $build == $b && $form == $f ]] && return
	done <"$here/unhealed.txt"
	return 1
}

# What the attacks got for answers, and the incidents that they made.
tell() {
	tail -n 3 "$T"/attack*
	tell_incidents "$before"
}

record() {
	local file="$TOP/${BUILD:-build}/attacks/$build.tsv"
	print_row "$build" "$form" "$works" "$seen" "$culprit" "${guard:-0}" "$dead" "$same" "$lives" "$verdict" "$reason"
	(IFS=$'\t' && echo "$form	$works	$seen	$culprit	${guard:-0}	$dead	$same	$lives	$verdict	$reason") >>"$file"
	sums[$verdict]=$((${sums[$verdict]:-0} + 1))
	if [ "$verdict" != healed ] && ! listed; then
		unlisted=$((unlisted + 1))
		tell | sed 's/^/     | /'
	fi
}

run_build() {
	local form culprits before in_vm=$CHUNK number=$1
	build=$2
	local -A sums=()
	: >"$TOP/${BUILD:-build}/attacks/$build.tsv"
	while read -r form _ _ _ _ culprits <&3; do
		number=$((number + 1))
		matches "$form" "${FORMS:-*}" || continue
		[ -z "${THIRD:-}" ] || [ $(((number + number / 3) % 3)) -eq 0 ] || continue
		if [ "$in_vm" -ge "$CHUNK" ] || ! vm_runs; then
			vm_down
			vm_up "$build" || { fails "$build: no VM" || cat "$T/$VM.log"; return; }
			in_vm=0
		fi
		attack_form
		# a patch that an earlier form led to may guard this one too: then it is tried where there is none
		if [ "$in_vm" -gt 0 ] && [ "$works$seen" = yes- ]; then
			vm_down
			vm_up "$build" || { fails "$build: no VM" || cat "$T/$VM.log"; return; }
			in_vm=0
			attack_form
		fi
		record
		in_vm=$((in_vm + 1))
	done 3< <(lab_forms "$build")
	vm_down
	total "$build"
}

total() {
	echo "$1: ${sums[healed]:-0} healed, ${sums[contained]:-0} contained, ${sums[missed]:-0} missed, ${sums[n/a]:-0} n/a"
}

# one_build NUMBER BUILD
one_build() {
	test_begin "attacks-$2"
	unlisted=0
	run_build "$@"
	is "$2: combinations that are neither healed nor listed in unhealed.txt" 0 "$unlisted"
	check "$2 leaves nothing" settled nothing_left
	test_end
}

# "NUMBER BUILD" of what is wanted.
wanted() {
	local number=0 build
	for build in $(lab_builds); do
		! matches "$build" "${BUILDS:-*}" || echo "$((number++)) $build"
	done
}

# shellcheck disable=SC2086 # a number and a build
[ -z "$one" ] || { one_build $one && exit; exit 1; }
mkdir -p "$TOP/${BUILD:-build}/attacks"
builds=$(wanted | wc -l)
print_row build form works seen culprit guard dead same lives verdict "strategy or reason"
# Each says its sum at its end; what is not all passed has failed.
counted=$(mktemp)
trap 'rm -f "$counted"' EXIT
wanted | xargs -r -P "${JOBS:-2}" -L 1 "$0" --one | awk -v counted="$counted" '
	/^[0-9]+ passed/ { passed += / 0 failed/; next }
	!/^(ok|==)/ { print; fflush() }
	END { print passed + 0 > counted }'
passed=$(cat "$counted")
echo "$passed passed, $((builds - passed)) failed, 0 skipped"
[ "$builds" -gt 0 ] && [ "$passed" -eq "$builds" ]
