package council

import "time"

// shape is what a seed decides before anything happens: how large the cluster
// is, how bad its network, and what goes wrong.
type shape struct {
	shards, routers int
	late            int // of the hosts, the last ones, that start in the midst of the trouble
	expect          int // shards to found the cluster
	partitions      int

	disk        bool // voters keep their log when they restart
	badFounding bool // there are faults from the start

	delay, jitter time.Duration // of a frame
	overtake      float64       // how often a frame passes those before it
	dropped       float64       // how often a frame is lost though its link is not
	sluggish      float64       // how often a node takes its time to hear of its own register
	snapshotEvery int           // entries

	faultEvery time.Duration
	trouble    time.Duration // how long there are faults
	faults     [faultKinds]bool
}

func drawShape(w *World) shape {
	r := w.Rand
	pick := func(v ...int) int { return v[r.IntN(len(v))] }
	s := shape{
		shards: pick(2, 3, 3, 4, 5), routers: pick(1, 1, 2, 3),
		partitions:    pick(5, 8, 13),
		disk:          r.IntN(3) == 0,
		badFounding:   r.IntN(4) == 0,
		delay:         w.Between(50*time.Microsecond, 5*time.Millisecond),
		jitter:        w.Between(50*time.Microsecond, 20*time.Millisecond),
		overtake:      []float64{0, 0.1, 0.5}[r.IntN(3)],
		dropped:       []float64{0, 0, 0.02}[r.IntN(3)],
		sluggish:      []float64{0, 0.01, 0.1}[r.IntN(3)],
		snapshotEvery: pick(3, 10, 1000),
		faultEvery:    time.Duration(pick(200, 500, 1500)) * time.Millisecond,
		trouble:       time.Duration(pick(5, 8, 12)) * time.Second,
	}
	if r.IntN(3) == 0 {
		s.late = r.IntN(s.routers + s.shards - 1)
	}
	// Two foundings of less than half of the shards each would be the operator's mistake. A single
	// first shard is told to found, and the others to wait for it, as people start clusters.
	s.expect = s.founders()
	if s.expect > 2 && r.IntN(3) == 0 {
		s.expect--
	}
	for k := range s.faults {
		s.faults[k] = r.IntN(2) == 0
	}
	return s
}

// founders is how many shards start at once.
func (s *shape) founders() int { return s.shards - max(0, s.late-s.routers) }
