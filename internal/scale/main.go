package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	measured := flag.Bool("measure", false, "measure this machine instead")
	flag.Parse()
	if *measured {
		measure(os.Stdout)
		return
	}
	print(os.Stdout)
}

// tables are those of the document, by the names under which it has them.
var tables = []struct {
	name  string
	write func(*table)
}{
	{"balance", balance},
	{"zones", zones},
	{"moves", changes},
	{"joins", joins},
	{"bytes", sizes},
	{"pushes", pushes},
	{"idle", idle},
	{"layouts", layouts},
}

func print(w io.Writer) {
	for _, t := range tables {
		fmt.Fprintf(w, "<!-- %s -->\n%s\n", t.name, text(t.write))
	}
}
