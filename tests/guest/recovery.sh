# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Checkpoints taken and gone back to by the operator, and a VM whose engines die. The program in the guest counts the
# requests that it has served: the count shows that time went back.

# served PORT: asks, which counts too; how many requests had been served before this one.
served() { fact "$1" served; }

# say CONNECTION TEXT: an echo over a connection that is open; 1: another answer, or none in time.
say() {
	local line
	echo "echo $2" >&"$1" && read -r -t 60 -u "$1" line && [ "$line" = "ok $2" ]
}

# closed CONNECTION: nothing more comes from it.
closed() {
	local line
	! read -r -t 60 -u "$1" line && [ -z "$line" ]
}

take() { "$CLOUDER" checkpoint "$@" --json | json_value number; }
kept() { "$CLOUDER" checkpoints "$1" --json | sed -n 's/^ *"number": *\([0-9]*\).*/\1/p'; }

test_checkpoint_verbs() {
	local port number before idle busy
	port=$(free_port)
	check "the VM starts" protected vm echo "$port:7010" --checkpoint-interval 60000 --checkpoint-memory 256
	exec {idle}<>"/dev/tcp/127.0.0.1/$port"
	check "a connection before the checkpoint" say "$idle" first
	check "benign requests" benign "$port" 6 before
	before=$(served "$port")
	number=$(take vm)
	check "a checkpoint has a number" between 1 1000 "$number"
	check "it is listed" grep -qx "$number" <(kept vm)
	check "the list says who asked for it" grep -qE "^ *$number .* operator " <("$CLOUDER" checkpoints)
	check "requests after it" benign "$port" 6 after
	is "time goes on" $((before + 7)) "$(served "$port")"
	exec {busy}<>"/dev/tcp/127.0.0.1/$port"
	check "a connection after the checkpoint" say "$busy" later

	"$CLOUDER" rollback vm "$number" --drop >"$T/dropped" 2>&1
	check "back without the input" grep -qE "^input since then: [0-9]+ frames dropped, [1-9][0-9]* connections reset" "$T/dropped"
	is "time went back" $((before + 1)) "$(served "$port")"
	check "the connection after the checkpoint is reset" closed "$busy"
	exec {busy}>&-
	check "the one before it goes on" say "$idle" second

	check "requests again" benign "$port" 6 again
	before=$(served "$port")
	"$CLOUDER" rollback "$number" >"$T/replayed" 2>&1
	check "back with the input" grep -qE "^input since then: [0-9]+ frames delivered again" "$T/replayed"
	check "a connection of that time goes on" say "$idle" third
	is "what was asked is answered again" $((before + 2)) "$(served "$port")"
	check "the same answers" same_file after again
	check "and again" benign "$port" 6 last
	is "incidents" 0 "$(incident_count)"
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	exec {idle}>&-
	end vm
}

take_three() { take "$1" && take "$1" && take "$1"; }

test_rollback_refused() {
	check "the VM starts" protected vm echo "" --checkpoints 2
	"$CLOUDER" rollback vm 2>"$T/none"
	check "nothing to go back to" one_line "$T/none" 'there is no checkpoint'
	check "three are taken" take_three vm
	is "two are kept" "2 3" "$(kept vm | xargs)"
	"$CLOUDER" rollback vm 1 2>"$T/gone"
	check "the oldest is gone" one_line "$T/gone" "there is no checkpoint 1 .*'clouder checkpoints'"
	"$CLOUDER" rollback vm 3 --drop --replay 2>"$T/both"
	check "one or the other" one_line "$T/both" '--replay and --drop exclude each other'
	"$CLOUDER" rollback vm three 2>"$T/word"
	check "a number is a number" one_line "$T/word" '"three" is no number of a checkpoint'
	check "the VM runs" test "$(status_value vm state)" = running
	end vm
}

# KILLS: how many times (3).
test_engine_killed() {
	local port pid idle i
	port=$(free_port)
	check "the VM starts" protected vm echo "$port:7010"
	exec {idle}<>"/dev/tcp/127.0.0.1/$port"
	check "a connection" say "$idle" first
	check "benign requests" benign "$port" 200 before
	pid=$(fact "$port" pid)
	for ((i = 1; i <= ${KILLS:-3}; i++)); do
		: >"$T/after"
		check "killed under load: $i" kill_under_load "$port" 200 after
		check "the same answers" same_file before after
		check "the connection goes on" say "$idle" "$i"
	done
	is "engines that took over" "${KILLS:-3}" "$(status_value vm revivals)"
	is "the same process" "$pid" "$(fact "$port" pid)"
	is "incidents" 0 "$(incident_count)"
	check_not "no program died" grep -E '^guest: .* (killed|exited)' "$T/vm.console"
	check "it is said" grep -q 'QEMU was killed by signal 9; going on from checkpoint' "$T/vm.log"
	exec {idle}>&-
	end vm
}

# waiting BYTES: so many bytes of requests have come to the guest, and something that it sent waits.
waiting() {
	[ "$(status_value vm rx_payload_bytes)" -ge "$1" ] && [ "$(status_value vm tx_waiting)" -ge 1 ]
}

# answer_in CONNECTION: the answer, after a checkpoint that was taken when it waited.
answer_in() {
	local line i
	for i in {1..20}; do
		take vm >"$T/number" && read -r -t 2 -u "$1" line && echo "$line" && return
	done
	return 1
}

# What is held leaves with the next checkpoint, and not at all if the VM goes back before.
test_hold() {
	local port early line
	port=$(free_port)
	check "the VM starts" protected vm echo "$port:7010" --output hold --checkpoint-interval 60000
	exec {early}<>"/dev/tcp/127.0.0.1/$port"
	echo "echo one" >&"$early"
	check "the answer waits" settled waiting 9
	check_not "nobody has seen it" read -r -t 0.5 -u "$early" line
	is "it comes with a checkpoint" "ok one" "$(answer_in "$early")"
	echo "echo two" >&"$early"
	check "the next waits" settled waiting 18
	"$CLOUDER" rollback vm --drop >"$T/dropped"
	check "what waited is thrown away" test "$(status_value vm tx_discarded)" -ge 1
	check "the connection is reset, and the answer was not seen" closed "$early"
	exec {early}>&-
	end vm
}

# Programs and attacks as without it, only later.
test_hold_attack() {
	local port
	port=$(free_port)
	check "the VM starts" protected vm fig2 "$port:7000" --output hold --checkpoint-interval 20
	check "benign requests" benign "$port" 18 before
	check "not owned" not_owned "$port" fig2 attack
	check "the attack is answered by the service" service_answered attack
	is "recoveries" 1 "$(status_value vm recoveries)"
	check "benign requests after it" benign "$port" 18 after
	check "the same answers" same_file before after
	check "checkpoints are taken for output" grep -q ' output ' <("$CLOUDER" checkpoints vm)
	end vm
}
