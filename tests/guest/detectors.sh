# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The detectors: what looks like an attack and is none (guests/calmlab.h) sets none of them off; errors that the attack lab has
# no form for (guests/seenlab.c) do; and one that is switched off sees nothing.

CALM_LABS=(calmlab calmlab-O0 calmlab-i386)
# Requests for each trick and build.
CALM_ROUNDS=${CALM_ROUNDS:-12}

service_port() { awk -v name="$1" '$2 == name { print $3 }' "$TOP/guests/programs.txt"; }

# calm_requests BUILD: lines; texts of every length that a name has room for, and longer.
calm_requests() {
	local -a tricks
	local i trick letters=HelloWorldFullOfThingsThatLookLikeAnAttackAndAreNoneAtAll
	read -r -a tricks < <(echo "echo list" | "$GUEST/bin/$1" - | sed 's/^ok //')
	for ((i = 0; i < CALM_ROUNDS; i++)); do
		for trick in "${tricks[@]}"; do
			echo "echo $trick ${letters:i:1 + (i * 7) % 45}"
		done
	done
}

# calm_answers BUILD PORT: the answers are those of the same program outside, in the same order.
calm_answers() {
	local connection request answer
	calm_requests "$1" >"$T/$1.requests"
	timeout "$LIMIT" "$GUEST/bin/$1" - <"$T/$1.requests" >"$T/$1.wanted"
	exec {connection}<>"/dev/tcp/127.0.0.1/$2" || return
	while read -r request; do
		echo "$request" >&"$connection"
		read -r -t "$LIMIT" -u "$connection" answer || break
		echo "$answer"
	done <"$T/$1.requests" >"$T/$1.got"
	exec {connection}>&-
	[ "$(wc -l <"$T/$1.got")" -ge $((20 * CALM_ROUNDS)) ] && diff "$T/$1.wanted" "$T/$1.got" | head
	same_file "$1.wanted" "$1.got"
}

test_detectors_calm() {
	local lab forwards=''
	local -A port=()
	for lab in "${CALM_LABS[@]}"; do
		port[$lab]=$(free_port)
		forwards+=" ${port[$lab]}:$(service_port "$lab")"
	done
	check "the VM starts" protected vm "$(IFS=, && echo "${CALM_LABS[*]}")" "${forwards# }"
	for lab in "${CALM_LABS[@]}"; do
		check "$lab answers as it does outside" calm_answers "$lab" "${port[$lab]}"
	done
	is "state" running "$(status_value vm state)"
	is "detections" 0 "$(status_value vm detections)"
	"$CLOUDER" incidents
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	echo "note: $(cat "$T"/*.got | wc -l) requests to ${#CALM_LABS[@]} builds"
	end vm
}

# What of a detector's error is tried: a request that is answered, and one that is not.
seen_code=$'code \xb8ABCD\xc3'
seen_long=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa

# say PORT REQUEST: the answer; 1: there is none.
say() {
	local connection answer=''
	exec {connection}<>"/dev/tcp/127.0.0.1/$1" || return
	echo "echo $2" >&"$connection"
	read -r -t "$LIMIT" -u "$connection" answer || true
	exec {connection}>&-
	echo "$answer"
	[ -n "$answer" ]
}

# seen DETECTOR BENIGN ANSWER ATTACK: the attack is seen by the detector, and the service lives.
seen() {
	local before
	before=$(incident_count)
	is "$1: a benign request" "$3" "$(say "$PORT" "$2")"
	is "$1: is not seen" "$before" "$(incident_count)"
	say "$PORT" "$4" >"$T/answer" || true
	check "$1: the attack is answered" wait_incident vm $((before + 1))
	is "$1: the detector" "$1" "$(incident_value $((before + 1)) detector)"
	settled say "$PORT" "$2" >"$T/settled"
	is "$1: benign again" "$3" "$(say "$PORT" "$2")"
}

test_detectors_seen() {
	local pid
	PORT=$(free_port)
	check "the VM starts" protected vm seenlab "$PORT:$(service_port seenlab)"
	is "detectors that are on" "$(sed -nE 's/^\tX\([A-Z]+, "([a-z-]+)",.*/\1/p' "$TOP/src/plugin/core/detector.h" | wc -l)" \
		"$("$CLOUDER" status vm | sed -n "s/^detectors *//p" | wc -w)"
	pid=$(fact "$PORT" pid)
	seen tainted-code "code  x" "ok code 0" "$seen_code"
	seen tainted-canary "canary abc" "ok child 24832" "canary $seen_long"
	seen stray-return "unescape aab" "ok plain 10" "unescape $seen_long"
	seen tainted-index "end abcdefghijklmno" "ok named 15" "end abcdefghijklmnop"
	seen tainted-branch "upper abc" "ok shouted 3" "upper abcdefghijklmnopqrstuvwx"
	seen tainted-canary "backward ab" "ok copied 97" "backward $seen_long"
	is "it is the store that ran down from outside" store-guard "$(incident_value "$(incident_count)" strategy)"
	seen tainted-fault "last a,b,cd" "ok last 2" "last $(printf 'abcdefg,%.0s' {1..24})"
	is "no patch for what is beside the table" "" "$(incident_value "$(incident_count)" strategy)"
	check "the reason" grep -q "out of its table" <("$CLOUDER" show "$(incident_count)")
	seen tainted-fault "illegal  x" "ok legal 2" "illegal x"
	seen tainted-fault "beyond 32 A" "ok filled 65" "beyond 1000000 A"
	is "it is the store that ran out of the stack" store-guard "$(incident_value "$(incident_count)" strategy)"
	is "the same process" "$pid" "$(fact "$PORT" pid)"
	end vm
}

test_detectors_off() {
	PORT=$(free_port)
	check "the VM starts" protected vm seenlab "$PORT:$(service_port seenlab)" --detectors -tainted-code,-tainted-canary
	check_not "status lists what is on only" grep -q tainted-code <("$CLOUDER" status vm)
	check "and that" grep -q stray-return <("$CLOUDER" status vm)
	is "tainted code runs" "ok code 1145258561" "$(say "$PORT" "$seen_code")"
	is "no detections" 0 "$(status_value vm detections)"
	seen tainted-index "end abcdefghijklmno" "ok named 15" "end abcdefghijklmnop"
	end vm
}
