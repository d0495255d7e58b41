// Package verify drives a live cluster with numbered messages and says whether its promises held. It is
// behind roomring verify.
//
// Every member of a room is a raw conn with num=1, and publishes. A payload names its room, its socket,
// its number on that socket and when it was due; the rest of it follows from these, so that any altered
// byte shows. What members hear is held against one ledger per room and epoch: offset by offset, each
// with one content, the same for all. So it needs no help from the cluster, and believes nothing but
// positions, gaps and resets that the cluster announced to the member in question.
//
//   - Acknowledged is a message that any member received. Owed is one whose socket stayed open to the end.
//   - Lost is one that is either, and missing at a member entitled to it: one that was there, or came
//     back from its position, and was told of no gap or reset that took it. What comes late is not lost.
//   - Doubled is one that comes again at its offset, or stands at two offsets of an epoch. It may stand in
//     two epochs if the later one was announced by a reset.
//   - Reordered is one that comes after a later offset, or stands behind a later one of its socket.
//   - Unplaced is one whose socket closed before anybody saw it. It may have been lost on the way in.
//   - Taken is one that a member received and another one did not, who was told of a gap or reset instead:
//     what that cost. It breaks no promise, unless the gap or reset does.
//
// Losses, pauses and what is unplaced belong to the period in which the message was due; one that was due
// at most 50 ms before an event and under way when it began belongs to that event. All else belongs to
// the period in which it was noticed. A message counts to a room's pause when it comes, at each member,
// also at one that was away and resumes: for it, that is how long the room stood still. A limit may be set,
// above which a pause breaks the promise.
//
// The machine counts, too: a pause of this process is one of every room. Leave it cores of its own.
//
// Read config.go (what is asked), report.go (what is answered), then the judge, which is a function of its
// input: stamp.go (a payload), numbers.go (num=1), stream.go (what a socket sent), ledger.go (what stands
// at each offset), follower.go (how far a member is), judge.go, verdict.go (what is missing in the end).
// Around it: run.go (the phases), room.go (who sends next), member.go (a conn, and the next one), socket.go,
// command.go, tally.go (counts by period), timeline.go; summary.go makes the report of it, and text.go, html.go
// and plot.go show it.
package verify
