// Package systemd judges deploy/systemd: the units by systemd-analyze, what they confine by running the
// programs as confined as that is possible without systemd, and the configuration by the programs.
package systemd
