package plan

import "fmt"

// Settings are what all nodes must agree on to place partitions alike: with others, two nodes would
// want a partition in two places. They are part of the Table.
type Settings struct {
	Placement   uint16 // which algorithm places owners; 1 is Owners
	Replication uint16 // points per shard on the ring, 1 to 1000
	Load        uint16 // in percent: no shard is wanted for more than this share of the average, rounded up; 100 to 1000
	Followers   uint8  // copies of a partition beside the owner's, where there are shards enough; 0 or 1
}

// MaxFollowers is the highest Settings.Followers that this version knows.
const MaxFollowers = 1

// DefaultSettings are what a cluster is founded with.
func DefaultSettings() Settings {
	return Settings{Placement: 1, Replication: 100, Load: 125, Followers: 1}
}

// Check says what is wrong with Settings that came from elsewhere: an unknown placement, numbers
// with which a ring would cost too much or have no room for all partitions, or more copies than
// this version makes.
func (s Settings) Check() error {
	switch {
	case s.Placement != 1:
		return fmt.Errorf("placement %d is unknown", s.Placement)
	case s.Replication < 1 || s.Replication > 1000:
		return fmt.Errorf("%d points per shard: want 1 to 1000", s.Replication)
	case s.Load < 100 || s.Load > 1000:
		return fmt.Errorf("load of %d percent: want 100 to 1000", s.Load)
	case s.Followers > MaxFollowers:
		return fmt.Errorf("%d followers: want %d at most", s.Followers, MaxFollowers)
	}
	return nil
}
