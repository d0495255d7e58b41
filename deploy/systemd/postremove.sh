#!/bin/sh
# Run by dpkg and rpm once the files are gone. Keys, certificates and votes stay: removing them is a
# decision, and the user has to stay for as long as they do.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
