//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "compare: it pins processes to cores and reads /proc, so it runs on Linux only")
	os.Exit(2)
}
