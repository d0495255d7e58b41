package proto

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParsePosition(t *testing.T) {
	const e = "0123456789abc"
	tests := []struct {
		in string
		ok bool
	}{
		{e + ".0", true},
		{e + ".1", true},
		{e + ".42", true},
		{"zzzzzzzzzzzzz.7", true}, // above 64 bits: well formed, no room ever had it
		{e + ".18446744073709551615", true},
		{"", false},
		{"0", false}, // since=0 is the router's business
		{e, false},
		{e + ".", false},
		{"." + e, false},
		{e + ".00", false},
		{e + ".01", false},
		{e + ".+1", false},
		{e + ".-1", false},
		{e + ". 1", false},
		{e + ".1 ", false},
		{e + ".1_0", false},
		{e + ".0x1", false},
		{e + ".1.2", false},
		{e + ".18446744073709551616", false},
		{e + ".99999999999999999999999", false},
		{e[1:] + ".1", false},
		{e + "d.1", false},
		{"0123456789ABC.1", false},
		{"012345678 abc.1", false},
		{"0123456789ab\xff.1", false},
		{e + ".٣", false},
		{e + ".1\x00", false},
	}
	for _, tt := range tests {
		p, err := ParsePosition(tt.in)
		if (err == nil) != tt.ok {
			t.Errorf("%q: %v, want ok %v", tt.in, err, tt.ok)
		}
		if err == nil && p.String() != tt.in {
			t.Errorf("%q: read as %q", tt.in, p)
		}
		if err != nil && (!errors.Is(err, ErrPosition) || p != Position{}) {
			t.Errorf("%q: %v %v", tt.in, p, err)
		}
	}
}

func TestCheckRoom(t *testing.T) {
	tests := []struct {
		name, in string
		want     error
	}{
		{"plain", "lobby", nil},
		{"one byte", "x", nil},
		{"space", " ", nil},
		{"path-like", "../a//b?c#d%00", nil},
		{"Cyrillic", "кухня", nil},
		{"four bytes", "\U0001f980", nil},
		{"right-to-left mark", "a\u200fb", nil}, // a format character, not a control
		{"replacement character", "\ufffd", nil},
		{"no-break space, just above C1", "\u00a0", nil},
		{"tilde, just below DEL", "~", nil},
		{"255 bytes", strings.Repeat("x", 255), nil},
		{"empty", "", ErrRoomSize},
		{"256 bytes", strings.Repeat("x", 256), ErrRoomSize},
		{"128 letters of two bytes", strings.Repeat("ж", 128), ErrRoomSize},
		{"10 KiB", strings.Repeat("x", 10<<10), ErrRoomSize},
		{"NUL", "a\x00b", ErrRoomControl},
		{"newline", "a\n", ErrRoomControl},
		{"just below space", "\x1f", ErrRoomControl},
		{"DEL", "\x7f", ErrRoomControl},
		{"first of C1", "\u0080", ErrRoomControl},
		{"NEL", "a\u0085b", ErrRoomControl},
		{"last of C1", "\u009f", ErrRoomControl},
		{"lone continuation", "\x80", ErrRoomUTF8},
		{"C1 as a bare byte", "a\x85", ErrRoomUTF8},
		{"overlong", "\xc0\xaf", ErrRoomUTF8},
		{"surrogate", "\xed\xa0\x80", ErrRoomUTF8},
		{"above Unicode", "\xf4\x90\x80\x80", ErrRoomUTF8},
		{"cut at the end", "ab\xe2\x82", ErrRoomUTF8},
	}
	for _, tt := range tests {
		if err := CheckRoom(tt.in); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err := CheckRoom([]byte(tt.in)); err != tt.want {
			t.Errorf("%s, as bytes: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestCheckNodeID(t *testing.T) {
	for in, ok := range map[string]bool{
		"s1": true, "router-eu-1": true, "0": true, "-": true, strings.Repeat("a", 63): true,
		"": false, strings.Repeat("a", 64): false, "S1": false, "s_1": false, "s.1": false, "s/1": false, "s 1": false, "ж": false, "s1\n": false, "s1\x00": false,
	} {
		if err := CheckNodeID(in); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", in, err, ok)
		}
	}
}

func TestParseIncarnation(t *testing.T) {
	tests := []struct {
		in   string
		want Incarnation
		ok   bool
	}{
		{"0000000000000", 0, true},
		{"0000000000001", 1, true},
		{"000000000000z", 35, true},
		{"0000000000010", 36, true},
		{"3w5e11264sgsf", 1<<64 - 1, true},
		{"3w5e11264sgsg", 0, false}, // 1<<64
		{"3w5e11264sgt0", 0, false},
		{"4000000000000", 0, false},
		{"zzzzzzzzzzzzz", 0, false},
		{"", 0, false},
		{"1", 0, false},
		{"00000000000001", 0, false},
		{"000000000000Z", 0, false},
		{"-000000000001", 0, false},
		{"000000000000\xff", 0, false},
	}
	for _, tt := range tests {
		have, err := ParseIncarnation(tt.in)
		if have != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %d %v, want %d, ok %v", tt.in, have, err, tt.want, tt.ok)
		}
	}
}

func TestParseNodeName(t *testing.T) {
	for in, ok := range map[string]bool{
		"s1/0000000000001": true,
		"s1":               false, "s1/": false, "/0000000000001": false, "s1/1": false, "S1/0000000000001": false, "s1/0000000000001/": false, "s1//000000000001": false,
	} {
		if _, err := ParseNodeName(in); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", in, err, ok)
		}
	}
	if i := NodeName("no slash").Incarnation(); i != 0 {
		t.Errorf("a malformed name has incarnation %v", i)
	}
}

func TestMint(t *testing.T) {
	// Eight zero bytes would be "none": they are drawn again.
	i, err := MintIncarnation(bytes.NewReader([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 36}))
	if err != nil || i.String() != "0000000000010" {
		t.Errorf("incarnation %v, %v", i, err)
	}
	broken := errors.New("no randomness")
	if _, err := MintIncarnation(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("mint incarnation: %v", err)
	}
	in, err := MintInstance(strings.NewReader("0123456789abcdef"))
	if err != nil || in.String() != "30313233343536373839616263646566" || in.IsZero() {
		t.Errorf("instance %v, %v", in, err)
	}
	if _, err := MintInstance(strings.NewReader("short")); err == nil {
		t.Error("an instance of 5 bytes")
	}
	if s := (Instance{}).String(); s != "" {
		t.Errorf("no instance is %q", s)
	}
	if e := MintEpoch(0); e.String() != "0000000000000" || e.IsZero() {
		t.Errorf("epoch of 0 is %q", e)
	}
	if e := (Epoch{}); e.String() != "" || !e.IsZero() {
		t.Errorf("no epoch is %q", e)
	}
}

// TestPartitionOf: another build that disagrees would look elsewhere.
func TestPartitionOf(t *testing.T) {
	for room, want := range map[string]Partition{"lobby": 3240, "": 2481, "кухня": 54} {
		if have := PartitionOfString(room, Partitions); have != want {
			t.Errorf("%q is in %d, want %d", room, have, want)
		}
		if have := PartitionOf([]byte(room), Partitions); have != want {
			t.Errorf("%q as bytes is in %d, want %d", room, have, want)
		}
	}
	if have := RoomHashProbe(); have != 0xad526ce824e76069 {
		t.Errorf("probe %#x", have)
	}
}

func TestNames(t *testing.T) {
	for have, want := range map[string]string{
		RoleRouter.String(): "router", RoleShard.String(): "shard", Role(9).String(): "role(9)",
		EntryRoomEnd.String(): "room-end", EntryKind(10).String(): "entry(10)", WishKind(0).String(): "unknown",
		Unavailable.String(): "unavailable", Code(200).String(): "code(200)", OK.String(): "ok",
	} {
		if have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
}

// TestWishNames: every kind has a name of its own.
func TestWishNames(t *testing.T) {
	var have []string
	for k := WishDrop; k <= WishRenew+1; k++ {
		have = append(have, k.String())
	}
	if got, want := strings.Join(have, ", "), "drop, drop overdue, add, ready, undo, renew, unknown"; got != want {
		t.Errorf("wishes are %s, want %s", got, want)
	}
}

func TestError(t *testing.T) {
	detail := errors.New("kept from 12")
	err := error(&Error{Code: Unrecovered, Op: "attach", Err: detail})
	if err.Error() != "attach: unrecovered: kept from 12" || !errors.Is(err, detail) {
		t.Errorf("%v", err)
	}
	if s := (&Error{Code: Full, Op: "publish"}).Error(); s != "publish: full" {
		t.Errorf("%q", s)
	}
}
