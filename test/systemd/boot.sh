#!/bin/bash
# boot.sh ROOT NAME: becomes a process whose only child is the systemd of the Debian tree ROOT, in namespaces of its own, with
# cgroups of its own that are called NAME.
set -eu
root=$1 name=$2

# Groups are made outside: a namespace of cgroups begins where the process is.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
	[ -f "$hierarchy/cgroup.procs" ] || continue
	mkdir -p "$hierarchy/$name"
	for file in cpuset.cpus cpuset.mems; do
		[ ! -f "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$name/$file"
	done
	[ ! -f "$hierarchy/$name/cgroup.clone_children" ] || echo 1 >"$hierarchy/$name/cgroup.clone_children"
	echo $$ >"$hierarchy/$name/cgroup.procs"
done

# shellcheck disable=SC2016 # the inner shell expands
exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup --propagation private bash -eu -c '
	root=$0
	hostname "$1"
	mkdir -p "$root/proc" "$root/sys" "$root/dev"
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount --rbind /dev "$root/dev"
	mount --make-rprivate "$root/dev"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
	mount -t tmpfs tmpfs "$root/dev/shm"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
		mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	else
		mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
		for hierarchy in /sys/fs/cgroup/*; do
			kind=${hierarchy##*/}
			[ -f "$hierarchy/cgroup.procs" ] && [ ! -L "$hierarchy" ] || continue
			mkdir "$root/sys/fs/cgroup/$kind"
			case $kind in
			unified) mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/$kind" ;;
			systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/$kind" ;;
			*) mount -t cgroup -o "$kind" cgroup "$root/sys/fs/cgroup/$kind" ;;
			esac
		done
	fi
	cd "$root"
	pivot_root . .
	umount -l .
	exec env -i container=kiln PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb /sbin/init
' "$root" "$name"
