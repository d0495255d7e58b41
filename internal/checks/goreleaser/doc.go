// Package goreleaser judges .goreleaser.yaml by GoReleaser itself, and what it makes by the programs that
// will read that. It is a module of its own: GoReleaser has more dependencies than all else here together.
package goreleaser
