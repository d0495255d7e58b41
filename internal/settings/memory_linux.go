package settings

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// physicalMemory returns the machine's memory, or 0 when it is unknown.
func physicalMemory(root string) Bytes {
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "MemTotal:" {
			n, _ := strconv.ParseInt(words[1], 10, 64) // 0 is unknown
			return Bytes(n) << 10
		}
	}
	return 0
}
