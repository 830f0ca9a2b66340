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
