//go:build !linux && !darwin

package settings

// physicalMemory is unknown here.
func physicalMemory(string) Bytes { return 0 }
