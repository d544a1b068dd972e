package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
)

// A request never starts what a failed build left, and does not hide that it
// failed.
func TestResetBuildsWhatIsNotBuilt(t *testing.T) {
	f := newFixture(t)
	f.script("build", "echo built >> ../logs; if test -e broken && ! test -e ../mended; then echo line 7 is wrong; exit 2; fi\n")
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(func(o *Options) { o.StartAfterPull = true })
	first := f.running()
	f.hub.Write("broken", "", 0o644)
	if r := f.a.Pull(f.ctx, api.PullRequest{Commit: f.hub.Commit()}); r.Error == "" {
		t.Fatalf("pull of what does not build = %+v", r)
	}
	failsToBuild := func(what string, err error, pid int) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "exit 2") || !strings.Contains(err.Error(), "line 7 is wrong") {
			t.Errorf("%s = %v, want the build's error with its last lines", what, err)
		}
		if s := f.a.Status(); s.PID != pid || !strings.Contains(s.LastError, "exit 2") {
			t.Errorf("status after %s = %+v, want process %d and the build's error", what, s, pid)
		}
	}
	failsToBuild("Reset", f.a.Reset(f.ctx), first)
	failsToBuild("Start of what runs", errors.Join(f.a.Start(f.ctx), f.a.Reset(f.ctx)), first)
	if err := f.a.Stop(f.ctx); err != nil {
		t.Fatal(err)
	}
	failsToBuild("Start of what was stopped", f.a.Start(f.ctx), 0)
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.app), "mended"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.a.Reset(f.ctx); err != nil {
		t.Errorf("Reset of what builds = %v", err)
	}
	if s := f.a.Status(); s.PID == 0 || s.PID == first || s.LastError != "" {
		t.Errorf("status = %+v, want a new process and no error", s)
	}
	if got := strings.Count(f.logged(), "built"); got != 6 {
		t.Errorf("%d builds, want 6: %s", got, f.logged())
	}
}

// A restart that goes well is no answer to a hub that could not be reached.
func TestAnErrorStaysUntilItIsAnswered(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(nil)
	f.running()
	f.hub.Write("f", "2", 0o644)
	f.hub.Commit()
	f.hub.Down(true)
	if r := f.a.Pull(f.ctx, api.PullRequest{}); r.Error == "" {
		t.Fatalf("pull without a hub = %+v", r)
	}
	if err := f.a.Reset(f.ctx); err != nil {
		t.Fatal(err)
	}
	if s := f.a.Status(); !strings.Contains(s.LastError, "503") {
		t.Errorf("status = %+v, want the hub's refusal", s)
	}
	f.hub.Down(false)
	f.pull(api.PullRequest{})
	if s := f.a.Status(); s.LastError != "" {
		t.Errorf("status = %+v, want no error", s)
	}
}
