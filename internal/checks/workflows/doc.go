// Package workflows judges what is under .github: the workflows by actionlint, and what they name by the
// repository, so that no renamed make target or moved file is found on the day of a release.
//
// It is a module of its own: actionlint and compose-go want releases of one YAML package that do not go
// together.
package workflows
