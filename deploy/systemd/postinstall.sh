#!/bin/sh
# Run by dpkg and rpm once the files are there. It starts nothing and restarts nothing: when a node may go is
# for whoever runs the cluster to say.
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers roomring.conf
	systemd-tmpfiles --create roomring.conf
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
