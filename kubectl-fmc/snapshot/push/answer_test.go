package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func packet(payload string) string { return string(appendPacket(nil, payload)) }

func TestReadRef(t *testing.T) {
	id := strings.Repeat("ab", 20)
	head := packet("# service=git-receive-pack\n") + "0000"
	for name, test := range map[string]struct{ answer, want string }{
		"empty":      {packet(strings.Repeat("0", 40) + " capabilities^{}\x00report-status\n"), strings.Repeat("0", 40)},
		"first":      {packet(id + " refs/heads/main\x00report-status\n"), id},
		"not first":  {packet(strings.Repeat("cd", 20)+" refs/heads/a\x00report-status\n") + packet(id+" refs/heads/main\n"), id},
		"other only": {packet(id + " refs/heads/mainly\x00report-status\n"), strings.Repeat("0", 40)},
	} {
		got, err := readRef(strings.NewReader(head+test.answer+"0000"), branch)
		if err != nil || got.String() != test.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, test.want)
		}
	}
}

// TestStall: a request over which nothing moves is ended, and says why.
func TestStall(t *testing.T) {
	ctx, _, stop := guard(context.Background(), 10*time.Millisecond)
	defer stop()
	<-ctx.Done()
	if err := why(ctx, io.ErrUnexpectedEOF); !strings.Contains(fmt.Sprint(err), "stood still for 10ms") {
		t.Errorf("error = %v", err)
	}
}

// FuzzAnswer: whatever a hub answers, reading it ends, without a panic, and
// holds a bounded amount.
func FuzzAnswer(f *testing.F) {
	report := packet("unpack ok\n") + packet("ok refs/heads/main\n") + "0000"
	for _, seed := range []string{
		packet("\x01"+report) + "0000", packet("\x02{\"pod\":\"a\"}\n") + packet("\x03no"), "ffff", "0001", "0004", "0005\x02", "zzzz",
		packet("# service=git-receive-pack\n") + "0000" + packet(strings.Repeat("ab", 20)+" refs/heads/main\x00x") + "0000",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		var result Result
		err := (&Pusher{}).readAnswer(bytes.NewReader(answer), &result)
		if err == nil && !bytes.Contains(answer, []byte("unpack ok")) {
			t.Error("taken for a success")
		}
		size := 0
		for _, m := range result.Messages {
			size += len(m)
		}
		if size > len(answer) {
			t.Errorf("%d bytes of messages from %d", size, len(answer))
		}
		readRef(bytes.NewReader(answer), branch)
	})
}
