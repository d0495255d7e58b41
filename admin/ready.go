package admin

// Reasons of /readyz. A role may have others, such as a router's.
const (
	ReasonNoTable          = "no_table"
	ReasonWaitingForShards = "waiting_for_shards"
	ReasonNoMajority       = "no_majority"
	ReasonVoters           = "voters"
	ReasonCopies           = "copies"
	ReasonOwnerless        = "ownerless"
	ReasonOtherInstance    = "other_instance"
	ReasonNoLinks          = "no_links"
	ReasonDraining         = "draining"
)

// sentence is each reason for people.
var sentence = map[string]string{
	ReasonNoTable:          "this node has not learned the table yet, so it does not know who owns which room",
	ReasonWaitingForShards: "no cluster is founded: fewer shards are here than --bootstrap-expect says",
	ReasonNoMajority:       "no leader was heard of for 3 s: without a majority of the voters the table cannot change",
	ReasonVoters:           "the cluster has fewer voters than it should: until it has them all, it survives fewer failures",
	ReasonCopies:           "partitions that this shard could follow have fewer copies than they should: the next failure could lose rooms",
	ReasonOwnerless:        "rooms have no living owner: their publishers wait until it is heard of, proved dead, or forgotten (roomring forget)",
	ReasonOtherInstance:    "nodes of another cluster with the same name are seen, and they are more",
	ReasonNoLinks:          "no shard is linked",
	ReasonDraining:         "this node is about to leave",
}

// Sentence says what a reason of /readyz means, or is empty when that is not known.
func Sentence(reason string) string { return sentence[reason] }

// sentences has what is known to be said of reasons.
func sentences(reasons []string) map[string]string {
	said := make(map[string]string, len(reasons))
	for _, reason := range reasons {
		if text, ok := sentence[reason]; ok {
			said[reason] = text
		}
	}
	return said
}
