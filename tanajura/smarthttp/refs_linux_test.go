package smarthttp_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// A repository's refs are bounded, whoever makes them in however many pushes.
func TestManyRefs(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	head := w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main")
	// What git would send to create the refs; all objects are there.
	create := func(from, to int) (int, string) {
		t.Helper()
		var body strings.Builder
		for i := from; i < to; i++ {
			command := strings.Repeat("0", 40) + " " + head + fmt.Sprintf(" refs/heads/b%04d", i)
			if i == from {
				command += "\x00 report-status"
			}
			fmt.Fprintf(&body, "%04x%s", len(command)+4, command)
		}
		body.WriteString("0000")
		response, err := http.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", strings.NewReader(body.String()+string(rawPack(0))))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if status, text := create(0, 4000); status != http.StatusOK || !strings.Contains(text, "ok refs/heads/b3999") {
		t.Fatalf("4,000 refs: %d %.200q", status, text)
	}
	if status, text := create(4000, 6000); status != http.StatusRequestEntityTooLarge || !strings.Contains(text, "at most 5000 refs") {
		t.Errorf("2,000 refs more: %d %.200q, want a refusal that names the limit", status, text)
	}
	head = w.commit("a.txt", "two\n")
	w.git("push", "-q", url, "main")
	if got := h.Head("orders"); got != head {
		t.Errorf("the branch is at %q, want %q", got, head)
	}
}
