package plan

import "github.com/roomring/roomring/proto"

// Recover makes the first rows of a new generation from the Tables that living nodes still hold,
// after the register itself was lost. Per partition the row with the highest term counts. If its
// owner lives, it stays and keeps its rooms, with the followers that live; else the partition goes
// to where wanted puts it, with new epochs, or to nobody ("") if no shard is there. Two rows of the
// same term that differ were never said by one register: then what was is not known, and the
// partition is treated as if its owner had died.
//
// Every row that ever had a term gets one of the generation, so that nothing of an older one is
// taken any more, whoever may still say it. The order of the tables does not matter; all have the
// same length, and with none there are no rows. The generation is above that of all terms.
func Recover(generation uint32, tables []Rows, lives func(proto.NodeName) bool, wanted func(proto.Partition) proto.NodeName) []Row {
	if len(tables) == 0 {
		return nil
	}
	rows := make([]Row, tables[0].Len())
	for i := range rows {
		p := proto.Partition(i)
		row, agreed := newest(tables, p)
		if agreed && row.Owner != "" && lives(row.Owner) {
			rows[i] = Row{Owner: row.Owner, Followers: living(row.Followers, lives), Term: next(row.Term, generation), Since: row.Since}
			continue
		}
		if owner := wanted(p); owner != "" || row.Term != 0 {
			rows[i] = reset(owner, row.Term, generation)
		}
	}
	return rows
}

// newest returns the partition's row of the highest term, and whether all tables that have that
// term agree on it.
func newest(tables []Rows, p proto.Partition) (row Row, agreed bool) {
	row, agreed = *tables[0].At(p), true
	for _, t := range tables[1:] {
		switch other := t.At(p); {
		case other.Term > row.Term:
			row, agreed = *other, true
		case other.Term == row.Term && !other.Equal(row):
			agreed = false
		}
	}
	return row, agreed
}

func living(names []proto.NodeName, lives func(proto.NodeName) bool) []proto.NodeName {
	var kept []proto.NodeName
	for _, n := range names {
		if lives(n) {
			kept = append(kept, n)
		}
	}
	return kept
}
