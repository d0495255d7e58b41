package link

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/roomring/roomring/proto"
)

const magic = "roomring"

// Purpose is what a connection between two nodes is for. Numbers are never
// reused.
type Purpose uint8

// The purposes.
const (
	PurposeFrames Purpose = 0 // a link
	PurposeStream Purpose = 1 // bytes for the register: both ends are the right runs of one founding
	PurposeProbe  Purpose = 2 // who answers here? Nothing follows

	purposes = 3
)

var purposeNames = [purposes]string{"frames", "stream", "probe"}

func (p Purpose) String() string {
	if p < purposes {
		return purposeNames[p]
	}
	return fmt.Sprintf("purpose(%d)", uint8(p))
}

// Hello is what a node says of itself when a connection opens; an Answer is the
// same from the other side with a proof in front. See the package doc for the
// bytes.
type Hello struct {
	Purpose    Purpose
	Min, Max   uint16
	Role       proto.Role
	Lanes      uint8
	Index      uint8 // which link of the pair
	Flags      uint8
	Partitions uint16
	RoomHash   uint64
	Founding   proto.Founding // zero while the sender knows of none
	Nonce      [nonceSize]byte
	Cluster    string
	Self       proto.NodeName
	Target     proto.NodeName // who is wanted; "" for anyone
}

func (h *Hello) keyed() bool { return h.Flags&flagKeyed != 0 }

func (h *Hello) roleFits() bool { return h.Role == proto.RoleRouter || h.Role == proto.RoleShard }

// AppendHello appends the frame.
func AppendHello(b []byte, h *Hello) []byte {
	b, start := proto.Begin(b, proto.FrameHello)
	return proto.End(h.append(b), start)
}

func (h *Hello) append(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, byte(h.Purpose))
	b = binary.BigEndian.AppendUint16(b, h.Min)
	b = binary.BigEndian.AppendUint16(b, h.Max)
	b = append(b, byte(h.Role), h.Lanes, h.Index, h.Flags)
	b = binary.BigEndian.AppendUint16(b, h.Partitions)
	b = binary.BigEndian.AppendUint64(b, h.RoomHash)
	b = append(b, h.Founding.Instance[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Founding.Generation)
	b = append(b, h.Nonce[:]...)
	b = appendShort(b, h.Cluster)
	b = appendShort(b, h.Self)
	return appendShort(b, h.Target)
}

// appendShort writes 1+n bytes; n is at most 255 by the checks of Config and
// proto.
func appendShort[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(append(b, byte(len(s))), s...)
}

const helloFixed = len(magic) + 1 + 2 + 2 + 4 + 2 + 8 + 16 + 4 + nonceSize

// ParseHello reads the body of a Hello. It checks the form, not what is said.
// Errors are a *Refusal.
func ParseHello(body []byte) (h Hello, err error) {
	if len(body) < helloFixed || string(body[:len(magic)]) != magic {
		return h, refuse(ReasonGarbage, "not a hello")
	}
	b := body[len(magic):]
	h.Purpose, h.Min, h.Max = Purpose(b[0]), binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint16(b[3:])
	h.Role, h.Lanes, h.Index, h.Flags = proto.Role(b[5]), b[6], b[7], b[8]
	h.Partitions, h.RoomHash = binary.BigEndian.Uint16(b[9:]), binary.BigEndian.Uint64(b[11:])
	copy(h.Founding.Instance[:], b[19:])
	h.Founding.Generation = binary.BigEndian.Uint32(b[35:])
	copy(h.Nonce[:], b[39:])
	rest := body[helloFixed:]
	cluster, rest, ok1 := cutShort(rest)
	self, rest, ok2 := cutShort(rest)
	target, _, ok3 := cutShort(rest)
	if !ok1 || !ok2 || !ok3 || len(cluster) > maxCluster {
		return h, refuse(ReasonGarbage, "a hello that is cut short")
	}
	h.Cluster = string(cluster)
	if h.Self, err = proto.ParseNodeName(string(self)); err != nil {
		return h, refuse(ReasonGarbage, "a hello without a name: %v", err)
	}
	if len(target) > 0 {
		if h.Target, err = proto.ParseNodeName(string(target)); err != nil {
			return h, refuse(ReasonGarbage, "a hello for nobody: %v", err)
		}
	}
	return h, nil
}

func cutShort(b []byte) (field, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	end := 1 + int(b[0]) // an int: 255 and one is 0 in a byte
	return b[1:end], b[end:], true
}

// Answer is the acceptor's Hello with its proof; Proof is empty or 32 bytes.
type Answer struct {
	Proof []byte
	Hello Hello
}

// AppendAnswer appends the frame.
func AppendAnswer(b []byte, x *Answer) []byte {
	b, start := proto.Begin(b, proto.FrameAnswer)
	return proto.End(x.Hello.append(appendShort(b, x.Proof)), start)
}

// ParseAnswer reads the body of an Answer. Errors are a *Refusal.
func ParseAnswer(body []byte) (x Answer, err error) {
	p, rest, err := cutProof(body)
	if err != nil {
		return x, err
	}
	x.Proof = p
	x.Hello, err = ParseHello(rest)
	return x, err
}

// AppendProof appends the dialer's proof, empty or 32 bytes, as a frame.
func AppendProof(b, p []byte) []byte {
	b, start := proto.Begin(b, proto.FrameProof)
	return proto.End(appendShort(b, p), start)
}

// ParseProof reads the body of a Proof. Errors are a *Refusal.
func ParseProof(body []byte) ([]byte, error) {
	p, _, err := cutProof(body)
	return p, err
}

func cutProof(b []byte) (p, rest []byte, err error) {
	p, rest, ok := cutShort(b)
	if !ok || len(p) != 0 && len(p) != proofSize {
		return nil, nil, refuse(ReasonGarbage, "a proof of a wrong size")
	}
	return p, rest, nil
}

// AppendWelcome appends the frame that opens the link.
func AppendWelcome(b []byte, version uint16) []byte {
	b, start := proto.Begin(b, proto.FrameWelcome)
	return proto.End(binary.BigEndian.AppendUint16(b, version), start)
}

// ParseWelcome reads the body of a Welcome. Errors are a *Refusal.
func ParseWelcome(body []byte) (version uint16, err error) {
	if len(body) < 2 {
		return 0, refuse(ReasonGarbage, "a welcome that is cut short")
	}
	return binary.BigEndian.Uint16(body), nil
}

// AppendRefuse appends the frame; the text is cut at 512 bytes.
func AppendRefuse(b []byte, r *Refusal) []byte {
	b, start := proto.Begin(b, proto.FrameRefuse)
	b = append(b, byte(r.Reason))
	return proto.End(append(b, r.Text[:min(len(r.Text), maxReason)]...), start)
}

// ParseRefuse reads the body of a Refuse. Control characters in the text become
// question marks.
func ParseRefuse(body []byte) *Refusal {
	if len(body) == 0 {
		return &Refusal{Text: "no reason given", Remote: true}
	}
	return &Refusal{Reason: Reason(body[0]), Text: printable(body[1:]), Remote: true}
}

// Peer is who is at the other end of a connection.
type Peer struct {
	Purpose  Purpose
	Name     proto.NodeName
	Role     proto.Role
	Lanes    int
	Version  uint16         // of the protocol, chosen in the hello
	Founding proto.Founding // zero while the peer knew of none
	Index    int            // which of the links to this node
	Addr     netip.AddrPort // the far end of the connection; zero when it has no IP
	Dialed   bool           // we opened it
}

// Open says hello over a connection that we dialed, as link index to target (""
// for whoever answers). It blocks for 5 s at most, and ends early with ctx. The
// conn it returns is c, wrapped in TLS if so configured, and nothing behind the
// hello has been read from it. On an error c is closed; the error is a *Refusal
// when one side would not have the other.
func Open(ctx context.Context, c net.Conn, cfg Config, target proto.NodeName, index int) (net.Conn, Peer, error) {
	f, err := cfg.filled()
	if err == nil && (index < 0 || index >= MaxLanes) {
		err = fmt.Errorf("link %d: want 0 to %d", index, MaxLanes-1)
	}
	if err != nil {
		c.Close()
		return nil, Peer{}, err
	}
	return run(ctx, c, f, true, func(x *exchange) (Peer, error) { return x.open(PurposeFrames, target, index) })
}

// Accept is the other side of Open. The peer's Purpose says what the connection
// is for: nothing follows on a probe, and the caller closes it.
func Accept(ctx context.Context, c net.Conn, cfg Config) (net.Conn, Peer, error) {
	f, err := cfg.filled()
	if err != nil {
		c.Close()
		return nil, Peer{}, err
	}
	return run(ctx, c, f, false, func(x *exchange) (Peer, error) { return x.accept(nil) })
}

// exchange is one hello under way.
type exchange struct {
	conn net.Conn
	cfg  *Config

	// What was said so far, for the proofs: bodies of Hello and of Answer
	// without its proof.
	hello, answer []byte
}

func run(ctx context.Context, c net.Conn, cfg *Config, dialer bool, talk func(*exchange) (Peer, error)) (_ net.Conn, p Peer, err error) {
	raw := c
	raw.SetDeadline(time.Now().Add(helloTime))
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if v := recover(); v != nil { // what comes from outside ends no process
			err = &panicked{value: v, stack: debug.Stack()}
		}
		if !stop() {
			err = context.Cause(ctx)
		}
		if err != nil {
			c.Close()
		}
	}()
	if c, err = cfg.TLS.wrap(ctx, c, dialer); err != nil {
		return nil, p, err
	}
	if p, err = talk(&exchange{conn: c, cfg: cfg}); err != nil {
		return nil, p, err
	}
	p.Addr, p.Dialed = addrPort(c.RemoteAddr()), dialer
	raw.SetDeadline(time.Time{}) // fails when the peer has closed already, which the next read will notice
	return c, p, nil
}

// open says hello for any purpose. A probe is over with our proof: who answered
// is known by then, and the other side need not take us for a broken one.
func (x *exchange) open(purpose Purpose, target proto.NodeName, index int) (Peer, error) {
	mine := x.mine(purpose, target, index)
	x.hello = mine.append(nil)
	x.send(AppendHello(nil, &mine))
	body, err := x.read(proto.FrameAnswer)
	if err != nil {
		return Peer{}, err
	}
	a, err := ParseAnswer(body)
	if err != nil {
		return Peer{}, x.refuse(err)
	}
	x.answer = body[1+len(a.Proof):]
	if err := x.judge(&mine, &a.Hello, a.Proof, acceptorLabel); err != nil {
		return Peer{}, x.refuse(err)
	}
	x.send(AppendProof(nil, x.sign(dialerLabel)))
	p := peerOf(&mine, &a.Hello, index)
	if purpose == PurposeProbe {
		return p, nil
	}
	if body, err = x.read(proto.FrameWelcome); err != nil {
		return Peer{}, err
	}
	v, err := ParseWelcome(body)
	if err != nil || v == p.Version {
		return p, err
	}
	return Peer{}, refuse(ReasonVersion, "%s chose protocol version %d", a.Hello.Self, v)
}

// accept proves nothing to, and says little to, who lacks a key that we have;
// everything else is judged once the dialer's proof is here. So a probe learns
// who we are, whomever it asked for. admit has the last word before the
// Welcome; nil lets everyone in.
func (x *exchange) accept(admit func(*Peer) *Refusal) (Peer, error) {
	body, err := x.read(proto.FrameHello)
	if err != nil {
		return Peer{}, err
	}
	d, err := ParseHello(body)
	if err != nil {
		return Peer{}, x.refuse(err)
	}
	a := Answer{Hello: x.mine(d.Purpose, d.Self, int(d.Index))}
	if d.keyed() != a.Hello.keyed() || d.Purpose >= purposes {
		return Peer{}, x.refuse(compare(&d, &a.Hello))
	}
	x.hello, x.answer = body, a.Hello.append(nil)
	a.Proof = x.sign(acceptorLabel)
	x.send(AppendAnswer(nil, &a))
	if body, err = x.read(proto.FrameProof); err != nil {
		return Peer{}, x.sameSentence(err, &d, &a.Hello)
	}
	p, err := ParseProof(body)
	if err != nil {
		return Peer{}, x.refuse(err)
	}
	if err := x.judge(&d, &a.Hello, p, dialerLabel); err != nil {
		return Peer{}, x.refuse(err)
	}
	peer := peerOf(&a.Hello, &d, int(d.Index))
	return peer, x.welcome(&peer, admit)
}

// welcome is the end of a hello that both sides agree on.
func (x *exchange) welcome(p *Peer, admit func(*Peer) *Refusal) error {
	if p.Purpose == PurposeProbe {
		return nil // the dialer has left
	}
	if p.Purpose == PurposeStream && x.cfg.Stream == nil {
		return x.refuse(refuse(ReasonPurpose, "%s dialed %s for a stream, which takes none", p.Name, x.cfg.Self))
	}
	if admit != nil {
		if r := admit(p); r != nil {
			return x.refuse(r)
		}
	}
	return x.send(AppendWelcome(nil, p.Version))
}

// panicked is a hello that met a bug of ours.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("the hello panicked: %v", p.value) }

// sameSentence: when the dialer refuses us, our own judgement of its hello is
// better than a text from outside, unless it is about the proof.
func (x *exchange) sameSentence(err error, d, a *Hello) error {
	r, ok := err.(*Refusal)
	if !ok || !r.Remote || r.Reason == ReasonKey {
		return err
	}
	if own := compare(d, a); own != nil {
		own.Remote = true
		return own
	}
	return err
}

// mine is our half. Target is who we talk to.
func (x *exchange) mine(purpose Purpose, target proto.NodeName, index int) Hello {
	h := Hello{
		Purpose: purpose,
		Min:     x.cfg.VersionMin, Max: x.cfg.VersionMax,
		Role: x.cfg.Role, Lanes: uint8(x.cfg.Lanes), Index: uint8(index),
		Partitions: uint16(x.cfg.Partitions), RoomHash: proto.RoomHashProbe(),
		Founding: x.cfg.Founding(), Cluster: x.cfg.Cluster, Self: x.cfg.Self, Target: target,
	}
	if len(x.cfg.Keys) > 0 {
		h.Flags |= flagKeyed
	}
	rand.Read(h.Nonce[:])
	return h
}

func peerOf(mine, theirs *Hello, index int) Peer {
	return Peer{Purpose: mine.Purpose, Name: theirs.Self, Role: theirs.Role, Lanes: int(theirs.Lanes), Founding: theirs.Founding,
		Version: min(mine.Max, theirs.Max), Index: index}
}

// The labels keep a proof of one side from being sent back as the other's.
const (
	acceptorLabel = "roomring link acceptor"
	dialerLabel   = "roomring link dialer"
)

// judge checks the other side's proof, then what it said.
func (x *exchange) judge(d, a *Hello, proof []byte, label string) error {
	if d.keyed() == a.keyed() && !x.verify(label, proof) {
		return refuse(ReasonKey, "the cluster keys of %s and %s differ", d.Self, a.Self)
	}
	if r := compare(d, a); r != nil {
		return r
	}
	return nil
}

func (x *exchange) sign(label string) []byte {
	if len(x.cfg.Keys) == 0 {
		return nil
	}
	return x.mac(x.cfg.Keys[0], label)
}

// verify tries every key, whatever the first ones say, so that time tells
// nothing.
func (x *exchange) verify(label string, proof []byte) bool {
	if len(x.cfg.Keys) == 0 {
		return len(proof) == 0
	}
	ok := false
	for _, k := range x.cfg.Keys {
		ok = hmac.Equal(x.mac(k, label), proof) || ok
	}
	return ok
}

func (x *exchange) mac(key []byte, label string) []byte {
	m := hmac.New(sha256.New, key)
	io.WriteString(m, label)
	for _, part := range [][]byte{x.hello, x.answer} {
		var size [4]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(part)))
		m.Write(size[:])
		m.Write(part)
	}
	return m.Sum(nil)
}

// send writes a frame. Who reads next need not look at the error: what the
// other side said before it closed tells more, and if it said nothing, the read
// fails too.
func (x *exchange) send(frame []byte) error {
	_, err := x.conn.Write(frame)
	return err
}

// refuse tells the other side and returns err.
func (x *exchange) refuse(err error) error {
	if r, ok := err.(*Refusal); ok {
		x.send(AppendRefuse(nil, r)) // it may be gone already; our own log has it anyway
	}
	return err
}

// read takes exactly one frame off the connection, of the wanted type or a
// Refuse, which it returns as error.
func (x *exchange) read(want proto.FrameType) ([]byte, error) {
	var head [proto.HeaderSize]byte
	if _, err := io.ReadFull(x.conn, head[:]); err != nil {
		return nil, fmt.Errorf("read %s: %w", want, err)
	}
	typ, size, err := proto.ParseHeader(head[:])
	if err != nil || size > maxHello || typ != want && typ != proto.FrameRefuse {
		return nil, refuse(ReasonGarbage, "the other side does not say hello as a node does (is it another port, or does one side use TLS?)")
	}
	body := make([]byte, size-proto.HeaderSize)
	if _, err := io.ReadFull(x.conn, body); err != nil {
		return nil, fmt.Errorf("read %s: %w", want, err)
	}
	if typ == proto.FrameRefuse {
		return nil, ParseRefuse(body)
	}
	return body, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	if a == nil {
		return netip.AddrPort{}
	}
	p, _ := netip.ParseAddrPort(a.String())
	return p
}
