package cluster

import (
	"errors"

	"github.com/roomring/roomring/cluster/plan"
)

// Register is where the Table is kept and changed. It is the seam for a replicated one: the
// coordinator proposes, and what comes back is the truth.
type Register interface {
	// Table returns the current Table, nil when there is none yet.
	Table() *Table

	// Propose asks for the changes as one step and returns the Table that has them, one version
	// up. It fails, and nothing is changed, when there is no Table yet or a Change does not
	// replace the term that the Table has.
	Propose(changes []plan.Change) (*Table, error)
}

// Local is a Register in this process's memory: it believes its own coordinator and nobody else.
// The zero Local holds no Table.
type Local struct {
	table *Table
}

var _ Register = (*Local)(nil)

// Table returns the Table that is held.
func (l *Local) Table() *Table { return l.table }

// Hold replaces the Table by one that came from elsewhere.
func (l *Local) Hold(t *Table) { l.table = t }

// Propose makes the changes, or none of them.
func (l *Local) Propose(changes []plan.Change) (*Table, error) {
	if l.table == nil {
		return nil, errors.New("propose: no table yet")
	}
	rows, err := plan.Apply(l.table.rows, changes)
	if err != nil {
		return nil, err
	}
	l.table = NewTable(l.table.Instance, l.table.Version+1, rows)
	return l.table, nil
}
