package websocket

// Body reads the body of a request, of a length that its head named or in
// chunks (RFC 9112, section 7.1). Request.Publish makes it.
//
// Invariant: len(data) + left <= limit.
type Body struct {
	data    []byte
	limit   int
	left    int // still to come, of the body or the chunk
	framing int // bytes that were not data
	digits  int // of the chunk's size
	state   bodyState
	fixed   bool
}

// bodyState is what is expected next of a chunked body.
type bodyState uint8

const (
	chunkSize      bodyState = iota
	chunkSpace               // between the size and an extension
	chunkExtension           // up to the end of the size's line
	chunkSizeEnd             // LF
	chunkData
	chunkDataReturn // CR
	chunkDataEnd    // LF
	trailer         // the first byte of a line
	trailerLine     // the others
	trailerLineEnd  // LF
	trailerEnd      // LF of the empty line
	bodyEnd
)

const (
	// maxDigits bounds the digits of a chunk's size.
	maxDigits = 8
	// Bytes that are no data may be as many as framingFree and framingShare for
	// each byte of data: enough for chunks of one byte and a few trailers, and
	// no way to have us read for ever.
	framingFree  = 2 << 10
	framingShare = 8
)

var (
	errChunk   = badRequest("the chunks of the body are malformed")
	errFraming = badRequest("the body has more framing than data")
)

// Next takes what it can of b and returns how much that was. When done, Data is
// the whole body, and what follows in b does not belong to it. After an error
// the connection is to be closed. How the bytes are cut into pieces never
// changes the outcome.
func (d *Body) Next(b []byte) (used int, done bool, err *HTTPError) {
	if d.fixed {
		used = d.take(b)
		return used, d.left == 0, nil
	}
	for used < len(b) && d.state != bodyEnd {
		if d.state == chunkData {
			used += d.take(b[used:])
			if d.left == 0 {
				d.state = chunkDataReturn
			}
			continue
		}
		if d.framing++; d.framing > framingFree+framingShare*len(d.data) {
			return used, false, errFraming
		}
		if err := d.frame(b[used]); err != nil {
			return used, false, err
		}
		used++
	}
	return used, d.state == bodyEnd, nil
}

// Data is the body as far as it came. It is the caller's when it is whole.
func (d *Body) Data() []byte { return d.data }

// Held is how many bytes of memory the body takes.
func (d *Body) Held() int { return cap(d.data) }

// take copies what is due of b. It grows by doubling, not beyond what was
// announced: a client makes us keep what it sent, not what it said it would.
func (d *Body) take(b []byte) int {
	n := min(len(b), d.left)
	if need := len(d.data) + n; need > cap(d.data) {
		grown := make([]byte, len(d.data), min(max(need, 2*cap(d.data), firstBuffer), len(d.data)+d.left))
		copy(grown, d.data)
		d.data = grown
	}
	d.data = append(d.data, b[:n]...)
	d.left -= n
	return n
}

// frame takes a byte that is not data.
func (d *Body) frame(c byte) *HTTPError {
	switch d.state {
	case chunkSize:
		return d.size(c)
	case chunkSpace:
		return d.behindSize(c)
	case chunkExtension:
		if c == '\r' {
			d.state = chunkSizeEnd
			return nil
		}
		if classes[c]&value == 0 {
			return errChunk
		}
		return nil
	case chunkSizeEnd:
		switch {
		case c != '\n':
			return errChunk
		case d.left == 0:
			d.state = trailer
		default:
			d.state = chunkData
		}
		d.digits = 0
		return nil
	case chunkDataReturn:
		return d.expect(c, '\r', chunkDataEnd)
	case chunkDataEnd:
		return d.expect(c, '\n', chunkSize)
	case trailerLineEnd:
		return d.expect(c, '\n', trailer)
	case trailerEnd:
		return d.expect(c, '\n', bodyEnd)
	}
	switch { // a trailer: it is read and forgotten
	case c == '\r' && d.state == trailer:
		d.state = trailerEnd
	case c == '\r':
		d.state = trailerLineEnd
	case classes[c]&value == 0, d.state == trailer && classes[c]&token == 0:
		return errChunk
	default:
		d.state = trailerLine
	}
	return nil
}

// size takes a byte of a chunk's size, or the one behind it.
func (d *Body) size(c byte) *HTTPError {
	switch {
	case isHex(c) && d.digits < maxDigits:
		d.digits++
		d.left = d.left<<4 | int(unhex(c))
		if d.left > d.limit-len(d.data) {
			return ErrTooLarge
		}
		return nil
	case d.digits == 0:
		return errChunk
	}
	return d.behindSize(c)
}

// behindSize takes a byte behind a chunk's size: spaces, then an extension or
// the end of the line. Anything else is refused: a proxy before us could have
// read another size.
func (d *Body) behindSize(c byte) *HTTPError {
	switch c {
	case '\r':
		d.state = chunkSizeEnd
	case ';':
		d.state = chunkExtension
	case ' ', '\t':
		d.state = chunkSpace
	default:
		return errChunk
	}
	return nil
}

func (d *Body) expect(c, want byte, next bodyState) *HTTPError {
	if c != want {
		return errChunk
	}
	d.state = next
	return nil
}
