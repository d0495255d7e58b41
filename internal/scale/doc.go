// Scale computes the tables of docs/scale.md: what clusters of 10, 100 and 1,000 nodes look like. It asks the
// product's own code (where package plan places copies, what package cluster's frames take) about clusters that
// exist only in memory, and multiplies what comes out with settings that are named beside each figure. A test holds
// the document against what it prints.
//
//	go run ./internal/scale            # the tables, the same on every machine
//	go run ./internal/scale -measure   # how long this machine takes for what a large cluster has to do
//
// Read crowd.go, then placement.go, moves.go, bytes.go and layout.go for the tables, measure.go for the rest.
package main
