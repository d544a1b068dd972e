package smarthttp

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// A pkt-line is four hex digits, its length with them, and the content. A
// length below four is a mark without content; 0000 is the flush-pkt.
const (
	flushPacket = "0000"
	// maxPacket is the longest pkt-line, fixed by the protocol.
	maxPacket = 65520
)

func packet(content string) string { return fmt.Sprintf("%04x%s", len(content)+4, content) }

// packetLength returns the length that a pkt-line's four digits tell, with
// them; -1 where they tell none.
func packetLength(digits []byte) int {
	length := 0
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			length = length<<4 | int(c-'0')
		case 'a' <= c && c <= 'f':
			length = length<<4 | int(c-'a'+10)
		case 'A' <= c && c <= 'F':
			length = length<<4 | int(c-'A'+10)
		default:
			return -1
		}
	}
	if length > maxPacket {
		return -1
	}
	return length
}

// refUpdate is one command of a push. An id of zeros only is none: the ref is
// created or deleted.
type refUpdate struct{ old, new, ref string }

// commandList is what a push asks for, as far as the hub has to know.
type commandList struct {
	updates []refUpdate
	// sideBand is set where the client reads side-band-64k.
	sideBand bool
	// options is set where the client sends more after the commands, expects
	// another report than the plain one, or says what is not understood here.
	options bool
}

// newID returns the id to which the push wants to move a ref; empty if it does
// not mention the ref.
func (l commandList) newID(ref string) string {
	for _, u := range l.updates {
		if u.ref == ref {
			return u.new
		}
	}
	return ""
}

// created returns how many refs the push would create.
func (l commandList) created() (n int) {
	for _, u := range l.updates {
		if strings.Trim(u.old, "0") == "" {
			n++
		}
	}
	return n
}

// maxCommands bounds the head of a push in bytes, which is held in memory: some
// 8,000 refs.
const maxCommands = 1 << 20

// readCommands reads the list of commands at the head of a push, up to and with
// its flush-pkt, and returns also the bytes it read, which git wants, too. What
// it does not understand inside a well-formed line is left to git to refuse.
func readCommands(r io.Reader) (list commandList, head []byte, err error) {
	var raw bytes.Buffer
	for {
		line, flush, err := readPacket(r, &raw)
		switch {
		case err == io.EOF && raw.Len() == 0:
			return list, nil, nil // an empty push, which git answers with nothing
		case err == io.EOF:
			return list, raw.Bytes(), fmt.Errorf("reading the commands of a push: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return list, raw.Bytes(), fmt.Errorf("reading the commands of a push: %w", err)
		case flush:
			return list, raw.Bytes(), nil
		}
		// As git reads it: a line's end is its last byte, and any line may have
		// capabilities.
		command, capabilities, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "\x00")
		list.addCapabilities(capabilities)
		if update, ok := parseUpdate(command); ok {
			list.updates = append(list.updates, update)
		} else if !strings.HasPrefix(command, "shallow ") {
			list.options = true
		}
	}
}

func (l *commandList) addCapabilities(text string) {
	for capability := range strings.FieldsSeq(text) {
		l.sideBand = l.sideBand || capability == "side-band-64k"
		switch name, value, _ := strings.Cut(capability, "="); name {
		case "report-status", "side-band-64k", "agent", "quiet", "ofs-delta", "delete-refs", "session-id", "atomic":
		case "object-format":
			l.options = l.options || value != "sha1"
		default:
			l.options = true
		}
	}
}

// parseUpdate reads "OLD NEW REF". git takes ids in capitals, too.
func parseUpdate(command string) (refUpdate, bool) {
	oldID, rest, _ := strings.Cut(command, " ")
	newID, ref, _ := strings.Cut(rest, " ")
	oldID, newID = strings.ToLower(oldID), strings.ToLower(newID)
	if !isHex(oldID) || !isHex(newID) || ref == "" {
		return refUpdate{}, false
	}
	return refUpdate{oldID, newID, ref}, true
}

// isHex tells a full object id, of SHA-1 or SHA-256.
func isHex(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// readPacket reads one pkt-line and appends all its bytes to raw.
func readPacket(r io.Reader, raw *bytes.Buffer) (content []byte, flush bool, err error) {
	start := raw.Len()
	if n, err := io.CopyN(raw, r, 4); err != nil {
		if err == io.EOF && n > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	length := packetLength(raw.Bytes()[start:])
	switch {
	case length == 0:
		return nil, true, nil
	case length < 4:
		return nil, false, fmt.Errorf("a packet starts with %q: %w", raw.Bytes()[start:], errMalformed)
	case raw.Len()+length-4 > maxCommands:
		return nil, false, errManyCommands
	}
	if _, err := io.CopyN(raw, r, int64(length-4)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	return raw.Bytes()[start+4:], false, nil
}
