//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(exitUsage)
	case o.list:
		for _, f := range faults {
			fmt.Printf("%-16s %s\n", f.name, f.about)
		}
		return
	}
	if place := os.Getenv(stageEnv); place != "" {
		os.Exit(runStage(o, place))
	}
	os.Exit(runGuard(o))
}
