package router

import "slices"

// reasons are why requests are refused: the codes of their answers. Counters.Refused
// names them in the same order.
var reasons = [...]string{
	"bad_proxy", "bad_request", "bad_room", "bad_since", "bad_subprotocol", "draining", "forbidden", "forbidden_origin", "full",
	"header_too_large", "key_reused", "method_not_allowed", "not_found", "rate_limited", "timeout", "too_big",
	"unacknowledged", "unauthorized", "unavailable", "unrecovered", "upgrade_required", "uri_too_long", "other",
}

// refused counts a refusal.
func (l *lane) refused(code string) {
	i := slices.Index(reasons[:], code)
	if i < 0 {
		i = len(reasons) - 1
	}
	l.counters.Refused[i]++
}

// closeCodes are those with which WebSockets are closed here, 0 for any other one.
// Counters.Closed names them in the same order.
var closeCodes = [...]uint16{1002, 1007, 1008, 1009, 1012, 1013, closeSlow, 0}

// closed counts a WebSocket that is closed from here.
func (l *lane) closed(code uint16) {
	i := slices.Index(closeCodes[:], code)
	if i < 0 {
		i = len(closeCodes) - 1
	}
	l.counters.Closed[i]++
}
