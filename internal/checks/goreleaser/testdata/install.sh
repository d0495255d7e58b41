#!/bin/sh
# Installs a package on this machine as it would be after that, and does with it what a user does: all that is
# written is written to memory, in a namespace of mounts of its own. Run by TestRelease as root:
#   unshare --mount sh install.sh PACKAGE.deb
set -eu
mount --make-rprivate /
over=${1%/*}/over
mkdir "$over"
mount -t tmpfs tmpfs "$over"
mkdir "$over/upper" "$over/work" "$over/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$over/upper,workdir=$over/work" "$over/root"
mount --rbind /proc "$over/root/proc"
mount --rbind /dev "$over/root/dev"
mkdir "$over/root/package"
cp "$1" "$over/root/package/roomring.deb"
exec chroot "$over/root" sh -eu -c '
	# systemctl talks to a systemd that is not there.
	dpkg --install package/roomring.deb >/dev/null
	id roomring >/dev/null
	test "$(stat -c "%a %U:%G" /etc/roomring/shard.yaml)" = "640 root:roomring"
	test "$(stat -c "%a %U:%G" /etc/roomring)" = "750 root:roomring"

	# Without a key it is wrong use, after which systemd does not start it again.
	code=0
	roomring-shard --config /etc/roomring/shard.yaml 2>/dev/null || code=$?
	test "$code" = 2

	# The first start, as README.md says, up to systemctl; the node reads its files as roomring.
	(umask 077; roomring key >/etc/roomring/cluster.key)
	systemd-tmpfiles --create roomring.conf
	for role in shard router; do
		setpriv --reuid roomring --regid roomring --clear-groups "roomring-$role" --config "/etc/roomring/$role.yaml" --print-config >/dev/null
	done

	# An update keeps what was edited, and a removal the keys.
	echo "zone: east" >>/etc/roomring/shard.yaml
	dpkg --install package/roomring.deb >/dev/null
	grep -q "^zone: east" /etc/roomring/shard.yaml
	dpkg --purge roomring >/dev/null 2>&1
	test ! -e /usr/bin/roomring-shard
	test ! -e /etc/roomring/shard.yaml
	test -e /etc/roomring/cluster.key
	echo installed, updated and removed
'
