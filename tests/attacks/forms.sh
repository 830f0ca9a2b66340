# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the runs of the attack lab share (doc/attacks.md): its builds and forms, and how one is attacked and judged. To be
# sourced after tests/guest/vm.sh. The service of the VM at hand is reached at $PORT.

# shellcheck disable=SC2034 # for the VMs
IMAGE=initrd-lab.img

# Names of the builds: all; fixed twins only; those that have the errors.
lab_rows() { awk '$1 ~ /^lab/ { print $2, $3 }' "$TOP/guests/programs.txt"; }
lab_fixed() { lab_rows | awk '$1 ~ /-fixed$/ { print $1 }'; }
lab_builds() { lab_rows | awk '$1 !~ /-fixed$/ { print $1 }'; }
lab_port() { lab_rows | awk -v name="$1" '$1 == name { print $2 }'; }

# The rows of a build's forms: "NAME WAY TARGET DISTANCE BYTES CULPRITS".
lab_forms() { printf 'list 0:' | "$GUEST/bin-lab/$1" - | grep -v '^end$'; }

# Programs whose addresses are not known, or are checked, can only be crashed.
lab_crash_only() { readelf -h "$GUEST/bin-lab/$1" | grep -q 'Type:.*DYN'; }

# lab_exploit BUILD FORM FILE [WHERE]: exit codes as of exploit-lab.
lab_exploit() {
	local -a more=()
	! lab_crash_only "$1" || more=(--crash)
	timeout "$LIMIT" "$GUEST/exploit-lab" "${4:-127.0.0.1:$PORT}" --binary "$GUEST/bin-lab/$1" "$2" "${more[@]}" >"$T/$3" 2>&1
}

# lab_ask VERB [KEY]: the answer's first value.
lab_ask() {
	timeout "$LIMIT" "$GUEST/benign-lab" "127.0.0.1:$PORT" ask "$1" 2>/dev/null | awk '{ print $2 }'
}

# lab_benign COUNT FILE [FORM...]
lab_benign() {
	timeout "$LIMIT" "$GUEST/benign-lab" "127.0.0.1:$PORT" 1 "$1" "${@:3}" >"$T/$2" 2>"$T/$2.err" || return 1
	[ "$(wc -l <"$T/$2")" -eq "$1" ]
}

lab_answers() { [ -n "$(lab_ask pid)" ]; }

is_recovered() { [ "$(incident_value "$1" state)" = recovered ]; }

# heals BUILD FORM: two attacks, the first of which makes one incident more, with a patch, and the second none.
heals() {
	local id
	id=$(($(incident_count) + 1))
	lab_exploit "$1" "$2" attack1
	settled is_recovered "$id" 2>/dev/null && [ "$(incident_count)" -eq "$id" ] || { cat "$T/attack1" && return 1; }
	lab_exploit "$1" "$2" attack2
	grep -q '^came back: ok' "$T/attack2" && [ "$(incident_count)" -eq "$id" ] && return
	cat "$T/attack2"
	return 1
}

# Of lab-O2, each by another error. Of the heap there is one: those that come after it find other chunks.
TWENTY_FORMS=(stack-ret-strcat stack-ret-memcpy stack-ret-recv stack-call-gets stack-call-loop stack-call-sprintf
	stack-call-sscanf stack-call-strcat stack-class-strcpy stack-jump-memcpy static-call-gets static-call-loop
	static-call-read static-call-sprintf static-call-sscanf static-class-strcpy heap-call-gets static-call-strcpy
	stack-pointer-ret-count format-snprintf-ret)

# heals_some BUILD NAME: ATTACKS (4, at most 20) attacks, each with a recovery of its own, after each of which the rounds NAME go on.
heals_some() {
	local form
	count=0
	for form in "${TWENTY_FORMS[@]:0:${ATTACKS:-4}}"; do
		check "$form: healed" heals "$1" "$form"
		check "$form: $2 go on" rounds_go_on "$2"
		count=$((count + 1))
	done
	is "recoveries" "$count" "$(status_value vm recoveries)"
}
