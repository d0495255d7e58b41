// Package link carries frames between two nodes, in order, over one TCP
// connection, and keeps the set of such connections that a node wants (Mesh). On
// the same port and with the same hello it opens byte streams for the register,
// and answers who is there.
//
// It is not a message bus: it routes nothing, queues little, and knows the
// meaning of no frame but its own (hello, heartbeat, credit, goodbye). What a
// frame says is the business of the lane that is called with it; what goes
// through a stream, of the register.
//
// Read hello.go for how two nodes agree to talk, refusal.go for why they would
// not, tls.go for what may be around it, flow.go for the rules of the bytes
// behind that (classes, credit; a pure core), pulse.go for heartbeats, link.go
// for how both meet a poll.Loop, and then mesh.go with dial.go and accept.go for
// who connects to whom; last stream.go and probe.go, for what else a hello opens.
//
// # On the wire
//
// A connection opens with a hello in lockstep; every frame of it is at most
// 4 KiB:
//
//	d  Hello     magic(8 "roomring") purpose(1) min(2) max(2) role(1) lanes(1) index(1) flags(1)
//	             partitions(2) roomhash(8) instance(16) generation(4) nonce(16)
//	             cluster(1+n) self(1+n) target(1+n) …
//	a  Answer    proof(1+n) then the same fields as in Hello, of its own side;
//	             target is the dialer's name
//	d  Proof     proof(1+n)
//	a  Welcome   version(2)
//	or, instead of any frame behind the Hello, from either side:
//	   Refuse    code(1) reason(rest, at most 512 bytes), and the connection ends
//
// min and max are the protocol versions the sender speaks; the highest common
// one is chosen. index is the number of this link among the K = max(lanes) of
// the pair. flags bit 0: the sender has a cluster key. A target of no bytes
// means "whoever you are". instance and generation are the sender's founding,
// zero while it knows of none. Bytes behind target are ignored (and proved), so
// that a later version can add fields.
//
// The purpose says what follows the Welcome, and what must fit. Key, versions,
// cluster name, partitions and room hash always must.
//
//	0 frames   two instances must not differ (one may be zero); the target must
//	           be who answers, if it is named; ids must differ; lanes, index and
//	           role must make sense
//	1 stream   the target must be named and be who answers: this very run of it,
//	           so that a node that lost its memory never answers for its former
//	           self; ids must differ; instance and generation must be known at
//	           both ends and be the same. Bytes of the register follow, as they
//	           are; index is 0
//	2 probe    nothing else: the acceptor answers whoever the target is. There is
//	           no Welcome; the dialer closes behind its Proof
//
// A proof is empty without a cluster key, else 32 bytes:
//
//	HMAC-SHA256(key, label ‖ size(4) ‖ body of Hello ‖ size(4) ‖ body of Answer without its proof)
//
// with the label "roomring link acceptor" in the Answer and "roomring link
// dialer" in the Proof. Both nonces are in it, so nothing can be replayed, and
// the labels differ, so nothing can be reflected. The first key signs, all keys
// verify. The proof names the two ends; it does not encrypt what follows: that
// is what TLS is for, which is opened before the hello.
//
// With TLS, a certificate proves one thing: the authority has issued it. Any
// certificate of that authority is a node, of whatever id, so the authority must
// be the cluster's own, and each of its keys is as precious as the cluster key.
// TLS tells neither which node it is (the hello says that, and a node is
// believed) nor that it belongs to this cluster when clusters share an authority
// (cluster name and key do). Certificates can be replaced while links are open.
//
// Behind the Welcome of a link each side sends frames as in package proto. Control frames go
// first, at frame boundaries; data frames keep their order. Each direction
// starts with Window bytes of credit for data frames, headers included; a data
// frame is begun only when all of it has credit; who exceeds it is cut off. The
// receiver returns credit in a Credit frame for what it has handled, at the
// latest when a quarter of the window is owed. Ping is sent after 500 ms of
// own silence, Pong answers it, 1.5 s of the other's silence end the link.
// Goodbye is the last frame of an orderly end: leaves(1), 1 when this run of the
// sender ends and will not act again, else 0; then a reason in UTF-8, at most
// 512 bytes.
package link
