//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "chaos needs Linux: it stops processes and cuts networks with what only Linux has")
	os.Exit(2)
}
