package smarthttp_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// TestSaveAndFetch pushes a save and fetches it as a Stinger does: what comes is
// the pack that was pushed, and the real git finds nothing wrong. A Stinger that
// has another commit gets from git what it lacks.
func TestSaveAndFetch(t *testing.T) {
	hub := hubtest.New(t)
	url := hub.CreateRepository("orders")
	w := newWorktree(t)
	first := w.commit("a/b/c", "1\n")
	w.git("push", "-q", url, "main")
	second := w.commit("a/b/c", "2\n")
	pack := w.savePack(first, second)
	answer := post(t, url, w.save(first, second, pack))
	if !bytes.HasPrefix(answer, []byte("002e\x01000eunpack ok\n0017ok refs/heads/main\n0000")) {
		t.Errorf("the answer to the push is %q", answer)
	}
	if got := fetch(t, url, first, second); !bytes.Equal(got, pack) {
		t.Errorf("the fetch brings %d bytes, want the %d that were pushed", len(got), len(pack))
	}
	third := w.commit("a/b/c", "3\n")
	post(t, url, w.save(second, third, w.savePack(second, third)))
	if got := fetch(t, url, first, third); !bytes.HasPrefix(got, []byte("PACK")) {
		t.Errorf("the fetch over two saves brings %q", got)
	}
	clone := newWorktree(t)
	clone.git("pull", "-q", url, "main")
	if got := clone.git("rev-parse", "HEAD"); got != third {
		t.Errorf("a clone is at %s, want %s", got, third)
	}
	clone.git("fsck", "--strict", "--full")
}

// savePack is the pack of a save as the plugin makes it: without deltas.
func (w worktree) savePack(from, to string) []byte {
	w.t.Helper()
	code, pack, errs := gitIn(w.t, w.dir, to+"\n^"+from+"\n", "pack-objects", "--revs", "--stdout", "-q", "--window=0", "--no-reuse-delta")
	if code != 0 {
		w.t.Fatal(errs)
	}
	return []byte(pack)
}

func (w worktree) save(from, to string, pack []byte) []byte {
	command := from + " " + to + " refs/heads/main\x00report-status side-band-64k object-format=sha1 agent=test"
	return fmt.Appendf(nil, "%04x%s0000%s", len(command)+4, command, pack)
}

// fetch fetches a commit on top of another and returns the pack.
func fetch(t *testing.T, url, have, want string) []byte {
	t.Helper()
	line := "want " + want + " side-band-64k ofs-delta thin-pack shallow no-progress agent=test\n"
	body := fmt.Sprintf("%04x%s00000032have %s\n0009done\n", len(line)+4, line, have)
	response, err := http.Post(url+"/git-upload-pack", "application/x-git-upload-pack-request", bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("status %d, error %v: %s", response.StatusCode, err, answer)
	}
	ack := "0031ACK " + have + "\n"
	rest, found := bytes.CutPrefix(answer, []byte(ack))
	if !found {
		t.Fatalf("the answer to the fetch begins with %q, want %q", answer[:min(len(answer), 60)], ack)
	}
	var pack []byte
	for len(rest) >= 4 && !bytes.HasPrefix(rest, []byte("0000")) {
		var n int
		if _, err := fmt.Sscanf(string(rest[:4]), "%04x", &n); err != nil || n < 5 || n > len(rest) || rest[4] != 1 {
			t.Fatalf("the answer to the fetch goes on with %q", rest[:min(len(rest), 60)])
		}
		pack = append(pack, rest[5:n]...)
		rest = rest[n:]
	}
	return pack
}
