package settings

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size. It is written as 65536, 64KiB, 1MiB or 2GiB (1024), or 64kB, 1MB, 2GB (1000).
type Bytes int64

var units = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a size: write it as 65536, 64KiB, 1MiB or 2GiB", text)
	}
	*b = Bytes(n * unit)
	return nil
}

// String returns the size in the largest unit of 1024 that leaves no fraction.
func (b Bytes) String() string {
	for _, u := range units[:3] {
		if b != 0 && int64(b)%u.bytes == 0 {
			return strconv.FormatInt(int64(b)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Secret is a string that is never shown: not by --print-config, not by a log that prints it.
type Secret string

// masked stands for a secret where it would be shown.
const masked = "(hidden)"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString hides the secret from %#v too.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }
