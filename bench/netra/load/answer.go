package load

import (
	"bytes"
	"errors"
	"strconv"
)

// maxHead bounds an answer's head: the test bed's have some 200 bytes.
const maxHead = 4096

// answer follows one answer. It knows the only framing that the test bed's
// application uses, which is Content-Length.
type answer struct {
	head   []byte // what has come of an unfinished head
	inBody bool
	status int
	left   int  // of the body
	close  bool // the connection ends with it
}

// Faults of answers.
var (
	errHead     = errors.New("the answer's head is longer than 4096 bytes")
	errStatus   = errors.New("the answer does not begin with a status line")
	errLength   = errors.New("the answer has no Content-Length")
	errTrailing = errors.New("bytes follow the answer")
)

func (a *answer) reset() { *a = answer{head: a.head[:0]} }

// feed takes the next bytes, and reports whether the answer is complete.
func (a *answer) feed(b []byte) (bool, error) {
	if !a.inBody {
		// The usual head comes in one piece, and is looked at where it is.
		head := b
		if len(a.head) > 0 {
			a.head = append(a.head, b...)
			head = a.head
		}
		end := bytes.Index(head, []byte("\r\n\r\n"))
		if end < 0 {
			if len(head) > maxHead {
				return false, errHead
			}
			if len(a.head) == 0 {
				a.head = append(a.head, b...)
			}
			return false, nil
		}
		if err := a.parse(head[:end+2]); err != nil {
			return false, err
		}
		b = head[end+4:]
	}
	a.left -= len(b)
	if a.left < 0 {
		return false, errTrailing
	}
	return a.left == 0, nil
}

// parse reads a head whose every line has its end.
func (a *answer) parse(head []byte) error {
	a.inBody = true
	const version = "HTTP/1.1 "
	if len(head) < len(version)+3 || string(head[:len(version)-2]) != version[:len(version)-2] {
		return errStatus
	}
	for _, c := range head[len(version) : len(version)+3] {
		if c < '0' || c > '9' {
			return errStatus
		}
		a.status = 10*a.status + int(c-'0')
	}
	known := false
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case equalFold(name, "content-length"):
			n, err := strconv.Atoi(string(value))
			if err != nil || n < 0 {
				return errLength
			}
			a.left, known = n, true
		case equalFold(name, "connection"):
			a.close = equalFold(value, "close")
		}
	}
	if !known {
		return errLength
	}
	return nil
}

// equalFold compares with a word in small letters.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}
