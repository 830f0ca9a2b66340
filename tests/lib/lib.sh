# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the guest tests share; source it from bash. Everything waits for events; the limits in seconds are only there so
# that a hanging test ends some time.
#
#   test_begin NAME             directory $T for the test's files, clean-up at the end whatever happens
#   start NAME COMMAND...       runs COMMAND in the background, its output in $T/NAME.log
#   wait_line NAME REGEX        waits for a line in NAME's log, prints it; 1 when NAME ended without it
#   wait_end NAME               waits until NAME ends; its exit code
#   stop NAME [SIGNAL]          ends NAME and waits for it
#   free_port                   a TCP port of the loopback that nobody listens on and that was not given before
#   plain_vm NAME RUN [FORWARDS]  starts the guest under plain QEMU with services RUN, forwards "HOST:GUEST ...", GUEST/udp
#   forwards "HOST:GUEST ..."   options of a user network for these, each with a comma before it
#   guest_args RUN              the QEMU arguments that boot the guest with services RUN, in the array GUEST_ARGS
#   check TEXT COMMAND...       counts a passed or failed check, and fails with it; check_not: COMMAND must fail
#   skip TEXT                   counts a skipped check
#   nothing_left                fails on processes, sockets and shared memory files that the test left, and prints them
#   test_end                    prints "N passed, N failed, N skipped" and exits

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
GUEST=$TOP/${BUILD:-build}/guest
LIMIT=${LIMIT:-300}

declare -A pid_of=()
passed=0 failed=0 skipped=0

test_begin() {
	test_name=$1
	T=$(mktemp -d "${TMPDIR:-/tmp}/clouder-test.XXXXXX")
	export CLOUDER_RUNTIME_DIR=$T/run CLOUDER_STATE_DIR=$T/state
	shm_before=$(shared_memory)
	trap test_cleanup EXIT
	echo "== $test_name"
}

test_cleanup() {
	local name
	for name in "${!pid_of[@]}"; do
		kill -KILL "${pid_of[$name]}" 2>/dev/null
	done
	wait 2>/dev/null
	if [ "$failed" -eq 0 ] || [ -z "${KEEP:-}" ]; then
		rm -rf "$T"
	else
		echo "kept: $T"
	fi
}

start() {
	local name=$1
	shift
	: >"$T/$name.log"
	"$@" </dev/null >"$T/$name.log" 2>&1 &
	pid_of[$name]=$!
}

wait_line() {
	if [ -n "${pid_of[$1]:-}" ]; then
		grep -a -m 1 -E -- "$2" \
			< <(timeout "$LIMIT" tail -n +1 -f -s 0.2 --pid="${pid_of[$1]}" "$T/$1.log" 2>/dev/null)
	else
		grep -a -m 1 -E -- "$2" "$T/$1.log"
	fi
}

wait_end() {
	local status=0
	timeout "$LIMIT" tail -f -s 0.2 --pid="${pid_of[$1]}" /dev/null || return 124
	wait "${pid_of[$1]}" || status=$?
	unset "pid_of[$1]"
	return "$status"
}

stop() {
	[ -n "${pid_of[$1]:-}" ] || return 0
	kill -"${2:-TERM}" "${pid_of[$1]}" 2>/dev/null
	wait_end "$1"
}

# The ports given are kept in a file: this function is mostly called in a subshell.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		if ! awk -v want="$(printf '%04X' "$port")" '
			FNR > 1 { split($2, at, ":"); if (at[2] == want) found = 1 }
			END { exit !found }' /proc/net/tcp && ! grep -qsx "$port" "$T/ports"; then
			echo "$port" | tee -a "$T/ports"
			return
		fi
	done
}

guest_args() {
	# shellcheck disable=SC2034 # for the caller
	GUEST_ARGS=(-m 512 -nodefaults -display none -serial stdio -no-reboot
		-kernel "$GUEST/vmlinuz" -initrd "$GUEST/${IMAGE:-initrd.img}"
		-append "console=ttyS0 quiet panic=-1 clouder.run=$1")
}

forwards() {
	local forward protocol
	for forward in $1; do
		protocol=tcp
		[[ $forward != */udp ]] || protocol=udp
		forward=${forward%/udp}
		printf ',hostfwd=%s:127.0.0.1:%s-:%s' "$protocol" "${forward%%:*}" "${forward##*:}"
	done
}

plain_vm() {
	local name=$1 net=user,id=net0
	guest_args "$2"
	net+=$(forwards "${3:-}")
	start "$name" qemu-system-x86_64 -accel tcg -machine q35 -cpu max "${GUEST_ARGS[@]}" \
		-netdev "$net" -device virtio-net-pci,netdev=net0,romfile=
}

passes() {
	passed=$((passed + 1))
	echo "ok: $1"
}

fails() {
	failed=$((failed + 1))
	echo "FAILED: $1"
	return 1
}

check() {
	local text=$1
	shift
	if "$@"; then passes "$text"; else fails "$text"; fi
}

check_not() {
	local text=$1
	shift
	if "$@"; then fails "$text"; else passes "$text"; fi
}

skip() {
	skipped=$((skipped + 1))
	echo "skipped: $1"
}

# clouder-test-*: of unit tests, which may run beside.
shared_memory() { find /dev/shm -mindepth 1 -path '/dev/shm/clouder-test-*' -prune -o -mindepth 1 -print | sort; }

# Processes are known by the test's directory among their arguments or environment.
left_over() {
	local dir
	for dir in /proc/[0-9]*; do
		case $(basename "$(readlink "$dir/exe")") in
		qemu-system* | qemu-storage-daemon | clouder*) ;;
		*) continue ;;
		esac
		if grep -qsaF "$T" "$dir/cmdline" "$dir/environ"; then
			echo "process ${dir#/proc/}: $(tr '\0' ' ' <"$dir/cmdline")"
		fi
	done
	find "$T" -type s | sed 's/^/socket /'
	find "$CLOUDER_RUNTIME_DIR" -type f 2>/dev/null | sed 's/^/file /'
	comm -13 <(echo "$shm_before") <(shared_memory) | sed 's/^/shared memory file /'
}

nothing_left() {
	local what
	what=$(left_over)
	[ -z "$what" ] || echo "$what"
	[ -z "$what" ]
}

test_end() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
	exit
}
