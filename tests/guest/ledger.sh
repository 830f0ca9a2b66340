# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A disk of a VM on which a program numbers each request: what the tests of disks share.

PATH=$PATH:/usr/sbin

# make_disk FILE [raw|qcow2]: an image of 64 MiB with an ext4 file system.
make_disk() {
	truncate --size 64M "$T/$1"
	mke2fs -q -t ext4 -F "$T/$1"
	[ "${2:-raw}" = raw ] && return
	mv "$T/$1" "$T/$1.made" && qemu-img convert -f raw -O "$2" "$T/$1.made" "$T/$1" && rm "$T/$1.made"
}

# content FILE: the name of a raw image of what is on the disk. 1: it is a qcow2 image, and not whole.
content() {
	if head -c 3 "$T/$1" | grep -q QFI; then
		qemu-img check -q -f qcow2 "$T/$1" >&2 && qemu-img convert -f qcow2 -O raw "$T/$1" "$T/$1.raw" || return
		echo "$T/$1.raw"
	else
		echo "$T/$1"
	fi
}

# ledger FILE: what the guest has written there, its own numbers cut off. 1: the numbers are not 1, 2, 3, ...
ledger() {
	local image
	image=$(content "$1") || return
	debugfs -R "cat /ledger" "$image" 2>/dev/null >"$T/$1.ledger"
	cut -d ' ' -f 1 "$T/$1.ledger" | cmp - <(seq "$(wc -l <"$T/$1.ledger")") || { cat "$T/$1.ledger" && return 1; }
	cut -d ' ' -f 2- "$T/$1.ledger"
}

fsck() {
	local image
	image=$(content "$1") || return
	e2fsck -fn "$image" >"$T/$1.fsck" 2>&1 || { cat "$T/$1.fsck" && return 1; }
}

# quit NAME PORT: the service ends, the guest unmounts its disk, and the VM is stopped.
quit() {
	timeout "$LIMIT" "$GUEST/ask" "127.0.0.1:$2" "echo quit" >/dev/null 2>&1
	check "$1: the guest unmounts its disk" wait_console "$1" '^guest: data is unmounted'
	end "$1"
}

# on_disk NAME PORT FILE,OPTIONS...: a VM that keeps a ledger on this disk. On a host that is busy Linux finds that its timer
# does not tick, and panics, unless it is told not to look.
on_disk() {
	protected "$1" "fig2-ledger clouder.data no_timer_check" "$2:7009" --disk "$T/$3" "${@:4}"
}
