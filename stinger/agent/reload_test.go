package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/reload"
)

// reacts is a service that writes down the signals that it gets.
const reacts = `for s in USR2 USR1; do trap "echo $s >> ../logs" $s; done; echo started >> ../logs; while :; do sleep 0.01; done
`

// rulesFixture runs a service under rules for each action.
func rulesFixture(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	rules, err := reload.Parse(`[
		{"paths": ["requirements.txt"], "do": "build"},
		{"paths": ["*.css"], "do": "nothing"},
		{"paths": ["conf/*"], "do": "signal", "signal": "USR2"},
		{"paths": ["more/*"], "do": "signal", "signal": "USR1"},
		{"paths": ["*.clj"], "do": "reload"}
	]`)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.script("start", reacts)
	f.script("build", "if test -e broken; then echo line 7 is wrong; exit 2; fi; echo built >> ../logs\n")
	f.hub.Write("f", "1", 0o644)
	f.hub.Commit()
	f.run(func(o *Options) {
		o.StartAfterPull, o.Rules = true, rules
		if change != nil {
			change(o)
		}
	})
	f.running()
	f.eventually("the start", func() bool { return f.logged() == "built started" })
	return f
}

// save commits the files with new content and pulls them.
func (f *fixture) save(paths ...string) api.PullResult {
	f.Helper()
	for _, path := range paths {
		f.hub.Write(path, fmt.Sprint(path, f.hub.Head()), 0o644)
	}
	return f.a.Pull(f.ctx, api.PullRequest{Commit: f.hub.Commit()})
}

// did is what a result tells of the process.
func did(r api.PullResult) string {
	var all []string
	for what, done := range map[string]bool{"built": r.Built, "restarted": r.Restarted, "reloaded": r.Reloaded} {
		if done {
			all = append(all, what)
		}
	}
	return strings.Join(append(all, r.Signals...), " ")
}

func TestRules(t *testing.T) {
	f := rulesFixture(t, nil)
	f.script("reload", `test -n "$FMC_PID" && kill -0 "$FMC_PID" && echo reloaded:$FMC_PID >> ../logs`+"\n")
	pid := f.a.Status().PID
	log := "built started"
	for _, c := range []struct{ paths, did, logs string }{
		{"a/x.css", "", ""},
		{"conf/a.yaml a.css", "USR2", "USR2"},
		{"conf/a.yaml more/a", "USR2 USR1", "USR2 USR1"},
		{"core.clj", "reloaded", fmt.Sprintf("reloaded:%d", pid)},
		{"core.clj conf/a.yaml", "reloaded USR2", fmt.Sprintf("reloaded:%d USR2", pid)},
	} {
		r := f.save(strings.Fields(c.paths)...)
		if r.Error != "" || did(r) != c.did || r.PID != pid || r.Changed != len(strings.Fields(c.paths)) {
			t.Errorf("%s: %+v, want %q of process %d", c.paths, r, c.did, pid)
		}
		if c.logs == "" {
			continue
		}
		if log += " " + c.logs; !strings.Contains(c.logs, "USR1") {
			f.eventually(log, func() bool { return f.logged() == log })
		} else { // two signals at once come in any order
			f.eventually(log, func() bool { return len(f.logged()) == len(log) })
			log = f.logged()
		}
	}
	r := f.save("f", "conf/a.yaml")
	if did(r) != "restarted" || r.PID == pid || r.Timings.Build != 0 {
		t.Errorf("a path that no rule names = %+v, want a restart without a build", r)
	}
	log += " started"
	f.eventually(log, func() bool { return f.logged() == log })
	if r := f.save("requirements.txt"); !r.Built || !r.Restarted || r.Error != "" {
		t.Errorf("a path of the build = %+v", r)
	}
	log += " built started"
	f.eventually(log, func() bool { return f.logged() == log })
	// A restarted container has what is built, also where that is so by rule.
	f.save("x.css")
	f.end()
	f.run(nil)
	f.running()
	log += " started"
	f.eventually(log, func() bool { return f.logged() == log })
}

// TestWhatFailedStaysDue breaks the build and then changes what needs none.
func TestWhatFailedStaysDue(t *testing.T) {
	f := rulesFixture(t, nil)
	pid := f.a.Status().PID
	r := f.save("requirements.txt", "broken")
	if r.PID != pid || r.Built || r.Restarted || !strings.Contains(r.Output, "line 7") || !strings.Contains(r.Error, "exit 2") {
		t.Errorf("a broken build = %+v", r)
	}
	if r := f.save("x.css"); r.PID != pid || !strings.Contains(r.Error, "exit 2") {
		t.Errorf("a change that needs no build = %+v, want the build still due", r)
	}
	if err := f.a.Reset(f.ctx); err == nil || f.a.Status().PID != pid {
		t.Errorf("Reset = %v, want it to start nothing half built", err)
	}
	f.hub.Remove("broken")
	f.hub.Write("x.css", "mended", 0o644)
	r = f.a.Pull(f.ctx, api.PullRequest{Commit: f.hub.Commit()})
	if r.Error != "" || !r.Built || !r.Restarted || r.PID == pid {
		t.Errorf("the mended build = %+v, want what was due before", r)
	}
	if r := f.save("y.css"); did(r) != "" || r.Error != "" {
		t.Errorf("nothing is due any more = %+v", r)
	}
}

func TestReloadThatFails(t *testing.T) {
	f := rulesFixture(t, nil)
	pid := f.a.Status().PID
	f.script("reload", "echo unmatched paren; test -e ../mended\n")
	r := f.save("core.clj")
	if r.PID != pid || r.Reloaded || r.Output != "unmatched paren" || !strings.Contains(r.Error, "reloading: ") {
		t.Errorf("a reload that fails = %+v", r)
	}
	if s := f.a.Status(); s.State != api.StateRunning || !strings.Contains(s.LastError, "reloading: ") {
		t.Errorf("status = %+v", s)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.app), "mended"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := f.save("x.css"); did(r) != "reloaded" || r.PID != pid || r.Output != "" {
		t.Errorf("the reload that is still due = %+v", r)
	}
	if s := f.a.Status(); s.LastError != "" {
		t.Errorf("status = %+v", s)
	}
	if err := os.Remove(filepath.Join(f.scripts, "reload")); err != nil {
		t.Fatal(err)
	}
	if r := f.save("core.clj"); did(r) != "restarted" || r.PID == pid {
		t.Errorf("without a script = %+v, want a restart", r)
	}
}

func TestRequestsGoBeforeRules(t *testing.T) {
	f := rulesFixture(t, nil)
	pid := f.a.Status().PID
	f.hub.Write("f", "2", 0o644)
	f.hub.Write("conf/x", "2", 0o644)
	f.hub.Commit()
	if r := f.pull(api.PullRequest{Restart: no}); did(r) != "" || r.PID != pid || r.Changed != 2 {
		t.Errorf("restart refused = %+v", r)
	}
	f.hub.Write("x.css", "2", 0o644)
	f.hub.Commit()
	if r := f.pull(api.PullRequest{Restart: yes}); did(r) != "restarted" {
		t.Errorf("restart asked for = %+v", r)
	}
}

// TestRulesWithoutABuildOfTheirOwn leave the build to every other path.
func TestRulesWithoutABuildOfTheirOwn(t *testing.T) {
	f := rulesFixture(t, func(o *Options) {
		rules, err := reload.Parse(`[{"paths": ["*.css"], "do": "nothing"}]`)
		if err != nil {
			t.Fatal(err)
		}
		o.Rules, o.StartAfterPull = rules, false
	})
	var got []string
	for _, path := range []string{"x.css", "f", "y.css"} {
		got = append(got, did(f.save(path)))
	}
	if want := []string{"", "built", ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("did %q, want %q", got, want)
	}
}
