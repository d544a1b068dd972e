package http2

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// Field is a header field.
type Field = hpack.HeaderField

// Bounds on what a header block costs beyond its bytes.
const (
	// MaxTable bounds the table that an end may have kept, in bytes; browsers
	// announce as much, most others the default.
	MaxTable = 64 << 10
	// maxList bounds the fields that are kept of one block, by RFC 9113's
	// measure (32 bytes for each besides its name and value); 1 MiB is the most
	// that a common server takes by default.
	maxList = 1 << 20
	// keptFields is how many fields' room is kept for the next block.
	keptFields = 128
)

// Decoder decodes the header blocks of one direction.
type Decoder struct {
	// Truncated tells that not all fields of the last block were kept.
	Truncated bool

	hpack  *hpack.Decoder
	fields []Field
	size   uint32
}

// NewDecoder returns a Decoder at the beginning of a connection.
func NewDecoder() *Decoder {
	d := &Decoder{}
	d.hpack = hpack.NewDecoder(DefaultTableSize, d.emit)
	return d
}

func (d *Decoder) emit(f Field) {
	d.size += f.Size()
	if d.Truncated = d.Truncated || d.size > maxList; !d.Truncated {
		d.fields = append(d.fields, f)
	}
}

// Decode decodes a whole block. The fields are valid until the next call. The
// table may be up to the size that the other end announced, and MaxTable. After
// an error the table is no longer in step with the sender's.
func (d *Decoder) Decode(block []byte, table uint32) ([]Field, error) {
	if cap(d.fields) > keptFields {
		d.fields = nil
	}
	clear(d.fields)
	d.fields, d.size, d.Truncated = d.fields[:0], 0, false
	d.hpack.SetAllowedMaxDynamicTableSize(min(table, MaxTable))
	if _, err := d.hpack.Write(block); err != nil {
		return nil, err
	}
	return d.fields, d.hpack.Close()
}

// Encoder writes header blocks that use no table but the static one.
type Encoder struct {
	buf   bytes.Buffer
	hpack *hpack.Encoder
}

// NewEncoder returns an Encoder whose first block empties the receiver's table.
func NewEncoder() *Encoder {
	e := &Encoder{}
	e.hpack = hpack.NewEncoder(&e.buf)
	e.hpack.SetMaxDynamicTableSize(0)
	return e
}

// Encode returns the block with these fields, valid until the next call. instead
// is the block in whose place it goes: where that one answers a change of the
// receiver's table size, this one does.
func (e *Encoder) Encode(fields []Field, instead []byte) []byte {
	if e.buf.Cap() > MaxBlock {
		e.buf = bytes.Buffer{}
	}
	e.buf.Reset()
	if len(instead) > 0 && instead[0]&0xe0 == 0x20 {
		e.hpack.SetMaxDynamicTableSize(0)
	}
	for _, f := range fields {
		// Writing to a bytes.Buffer does not fail.
		_ = e.hpack.WriteField(f)
	}
	return e.buf.Bytes()
}

// AppendLiteral appends a field that no table remembers. The name is to be in
// lower case.
func AppendLiteral(dst []byte, name, value string) []byte {
	dst = append(dst, 0) // literal without indexing, new name
	dst = appendString(dst, name)
	return appendString(dst, value)
}

// appendString appends a string's length, in HPACK's form with a prefix of
// seven bits (RFC 7541, 5.1), and the string as it is.
func appendString(dst []byte, s string) []byte {
	const prefix = 0x7f
	if n := len(s); n < prefix {
		dst = append(dst, byte(n))
	} else {
		dst = append(dst, prefix)
		for n -= prefix; ; n >>= 7 {
			if n < 0x80 {
				dst = append(dst, byte(n))
				break
			}
			dst = append(dst, byte(n)|0x80)
		}
	}
	return append(dst, s...)
}
