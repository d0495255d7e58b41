package websocket

import (
	"iter"
	"strings"
)

// class is a set of the places where a byte may stand.
type class uint8

const (
	token    class = 1 << iota // a method, a header's name, a subprotocol (RFC 9110, section 5.6.2)
	target                     // a request target; some signs that browsers send as they are are let through
	value                      // a header's value
	hostName                   // a host that is a name or an IPv4 address
	alphanumeric
)

// classes has the classes of each byte: a look-up per byte of a head.
var classes = func() (t [256]class) {
	for i := range t {
		c := byte(i)
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		t[c] = when(letter, alphanumeric) |
			when(letter || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0, token) |
			when(letter || strings.IndexByte("-._~%!$&'()*+;=", c) >= 0, hostName) |
			when(c > ' ' && c < 0x7f && c != '#', target) |
			when(c >= ' ' && c != 0x7f || c == '\t', value)
	}
	return t
}()

func when(is bool, k class) class {
	if is {
		return k
	}
	return 0
}

// all says whether every byte of s is of class k.
func all(s string, k class) bool {
	for i := range len(s) {
		if classes[s[i]]&k == 0 {
			return false
		}
	}
	return true
}

// fold compares without regard to the case of ASCII letters, and only those:
// strings.EqualFold takes the Kelvin sign for a k.
func fold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// tokens yields the elements of a comma-separated list that are not empty.
func tokens(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for more := true; more; {
			var t string
			t, list, more = strings.Cut(list, ",")
			if t = strings.Trim(t, " \t"); t != "" && !yield(t) {
				return
			}
		}
	}
}

func hasToken(list, want string) bool {
	for t := range tokens(list) {
		if fold(t, want) {
			return true
		}
	}
	return false
}
