package http1

// maxChunk bounds one chunk's size so that a further digit cannot overflow an
// int64.
const maxChunk = 1 << 56

type chunkState uint8

const (
	chunkSize0 chunkState = iota // at a size's first digit
	chunkSize
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerLine
	trailerLF
	finalLF
)

// chunks follows a chunked body to its end, trailers included. Nothing in it
// needs a bound but a chunk's size, since nothing is kept.
type chunks struct {
	state chunkState
	bad   bool  // a byte did not fit; for good
	rest  int64 // size being read, then bytes of data still to come
}

// scan consumes bytes of the body; end tells that the body ended with them, and
// not ok that the byte after them does not fit.
func (c *chunks) scan(p []byte, payload *int64) (n int, end, ok bool) {
	for n < len(p) && !c.bad {
		if c.state == chunkData {
			k := min(int64(len(p)-n), c.rest)
			n += int(k)
			c.rest -= k
			*payload += k
			if c.rest == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if c.state == finalLF && p[n] == '\n' {
			return n + 1, true, true
		}
		if !c.step(p[n]) {
			c.bad = true
			break
		}
		n++
	}
	return n, false, !c.bad
}

// step takes one byte of the framing around the data.
func (c *chunks) step(b byte) bool {
	switch c.state {
	case chunkSize0, chunkSize:
		return c.size(b)
	case chunkExtension:
		if b == '\r' {
			c.state = chunkSizeLF
		}
		return b != '\n'
	case chunkSizeLF:
		c.state = chunkData
		if c.rest == 0 {
			c.state = trailerStart
		}
		return b == '\n'
	case chunkDataCR:
		c.state = chunkDataLF
		return b == '\r'
	case chunkDataLF:
		c.state = chunkSize0
		return b == '\n'
	case trailerStart:
		c.state = trailerLine
		if b == '\r' {
			c.state = finalLF
		}
		return b != '\n'
	case trailerLine:
		if b == '\r' {
			c.state = trailerLF
		}
		return b != '\n'
	case trailerLF:
		c.state = trailerStart
		return b == '\n'
	default: // finalLF: anything but LF
		return false
	}
}

// size takes a byte of a chunk's size or the one after it.
func (c *chunks) size(b byte) bool {
	var digit int64
	switch {
	case b >= '0' && b <= '9':
		digit = int64(b - '0')
	case b|0x20 >= 'a' && b|0x20 <= 'f':
		digit = int64(b|0x20-'a') + 10
	case c.state == chunkSize0:
		return false
	case b == '\r':
		c.state = chunkSizeLF
		return true
	case b == ';', blank(b): // some servers pad the size with spaces
		c.state = chunkExtension
		return true
	default:
		return false
	}
	c.state = chunkSize
	c.rest = c.rest<<4 | digit
	return c.rest < maxChunk
}
