package settings

import "golang.org/x/sys/unix"

// physicalMemory returns the machine's memory, or 0 when it is unknown.
func physicalMemory(string) Bytes {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return Bytes(n)
}
