#!/bin/sh
# Run by dpkg and rpm before the files go. An update leaves the nodes running: dpkg says "upgrade" then,
# and rpm a number that is not 0.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		# Drains: what a shard has goes to the others.
		systemctl disable --now roomring-shard.service roomring-router.service || true
	fi
	;;
esac
