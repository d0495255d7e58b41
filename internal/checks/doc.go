// Package checks is a module of its own: what judges the files under deploy, and the release, by the
// programs that will read them. So the product's go.mod stays small, and whoever imports Roomring gets
// none of it.
//
// A directory each: what it checks is its name. Every one shows two things: the file passes its
// checker, and a broken copy does not, with Broken, so that a checker that looks at nothing is found.
//
// What cannot live together in one module has one of its own: workflows and goreleaser.
//
// make deploy runs all of it. Checkers that are programs (nginx, haproxy, systemd-analyze) are Debian
// packages; without them their tests are skipped, unless -require says that they must be there.
package checks
