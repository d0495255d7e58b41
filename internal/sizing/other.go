//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "sizing: it reads /proc, so it runs on Linux only")
	os.Exit(2)
}
