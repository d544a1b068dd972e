// Package reload holds a service's rules of what a change does: which paths,
// when they change, have the service built, started again, reloaded in place,
// signalled, or left alone.
//
//	rules, err := reload.Parse(`[
//		{"paths": ["requirements.txt"], "do": "build"},
//		{"paths": ["templates/**", "*.css"], "do": "nothing"},
//		{"paths": ["conf/*.yaml"], "do": "signal", "signal": "HUP"}
//	]`)
//	todo := rules.Decide(changed, restartByDefault)
//
// For each path the first rule counts that names it, so that an exception goes
// before what it is one from. Of what the paths of one change ask for,
// everything is done that is not part of something stronger: a build is
// followed by a restart, and a process that is started anew needs neither a
// reload nor a signal; a reload comes before the signals.
//
// A path that no rule names is for the default: it has the process started
// again where that is the service's setting, and the service built before,
// unless some rule says build: then the build has its paths, and a change of
// others needs none. The service's own build script is always one of them.
//
// Patterns are git's of .gitignore, relative to the service's directory; see
// pattern.go.
package reload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What a rule may do, in the order of strength.
const (
	Build   = "build"   // run the build script, then start the process again
	Restart = "restart" // start the process again
	InPlace = "reload"  // run the reload script beside the process, which goes on
	Signal  = "signal"  // send the process a signal
	Nothing = "nothing" // the process sees for itself
)

// Actions are those that a rule may name.
var Actions = []string{Build, Restart, InPlace, Signal, Nothing}

// Signals are those that a rule may send. TERM and KILL are not among them:
// they end a process, and for that there is restart.
var Signals = []string{"HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "CONT", "TTIN", "TTOU", "WINCH", "IO"}

const (
	// maxText bounds the rules as JSON: one variable of a process may have
	// 128 KiB (MAX_ARG_STRLEN), and a pod's annotations 256 KiB together.
	maxText = 32 << 10
	// MaxPatterns bounds the patterns of all rules, as each changed path may
	// be compared with each of them.
	MaxPatterns = 200
)

// Rule says what a change of some paths does.
type Rule struct {
	Paths []string `json:"paths"`
	Do    string   `json:"do"`
	// Signal is the name of the one to send, with or without SIG.
	Signal string `json:"signal,omitempty"`
}

// Rules are a service's, ready to be asked. The zero value has none.
type Rules struct {
	rules  []compiled
	builds bool // some rule says build
}

type compiled struct {
	patterns []pattern
	do       string
	signal   string
}

// Decision is what a change asks for.
type Decision struct {
	Build   bool
	Restart bool
	Reload  bool
	Signals []string // without SIG, in the order of the rules
}

// Parse reads rules in JSON; the empty text has none. The error has every
// fault.
func Parse(text string) (Rules, error) {
	if strings.TrimSpace(text) == "" {
		return Rules{}, nil
	}
	if len(text) > maxText {
		return Rules{}, fmt.Errorf("the rules have %d bytes: at most %d are allowed", len(text), maxText)
	}
	var items []json.RawMessage
	if err := json.Unmarshal([]byte(text), &items); err != nil {
		return Rules{}, fmt.Errorf(`want a list such as [{"paths": ["*.css"], "do": "nothing"}]: %w`, err)
	}
	rules := make([]Rule, len(items))
	var faults []error
	for i, item := range items {
		decoder := json.NewDecoder(bytes.NewReader(item))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&rules[i]); err != nil {
			faults = append(faults, fmt.Errorf("rule %d: %w", i+1, err))
			rules[i] = Rule{Paths: []string{"*"}, Do: Nothing} // has no further fault
		}
	}
	compiled, err := New(rules)
	return compiled, errors.Join(append(faults, err)...)
}

// Text returns the rules as Parse reads them.
func Text(rules []Rule) (string, error) {
	text, err := json.Marshal(rules)
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("the rules have %d bytes: at most %d are allowed", len(text), maxText)
	}
	return string(text), err
}

// New makes rules ready. The error has every fault.
func New(list []Rule) (Rules, error) {
	var r Rules
	var faults []error
	patterns := 0
	for i, rule := range list {
		for _, fault := range Check(rule) {
			faults = append(faults, fmt.Errorf("rule %d: %w", i+1, fault))
		}
		c := compiled{do: rule.Do, signal: signalName(rule.Signal)}
		for _, text := range rule.Paths {
			if p, err := compile(text); err == nil {
				c.patterns = append(c.patterns, p)
			}
		}
		patterns += len(rule.Paths)
		r.rules = append(r.rules, c)
		r.builds = r.builds || rule.Do == Build
	}
	if patterns > MaxPatterns {
		faults = append(faults, tooMany(patterns))
	}
	if len(faults) > 0 {
		return Rules{}, errors.Join(faults...)
	}
	return r, nil
}

func tooMany(patterns int) error {
	return fmt.Errorf("the rules have %d patterns: at most %d are allowed", patterns, MaxPatterns)
}

// Fault is what is wrong with one field of a rule.
type Fault struct {
	Field string // "paths", "do" or "signal"
	Index int    // of the path; else -1
	Text  string
}

func (f *Fault) Error() string { return f.Field + ": " + f.Text }

// Check returns every fault of a rule.
func Check(rule Rule) []*Fault {
	var faults []*Fault
	fault := func(field string, index int, format string, args ...any) {
		faults = append(faults, &Fault{field, index, fmt.Sprintf(format, args...)})
	}
	if len(rule.Paths) == 0 {
		fault("paths", -1, "want the paths that the rule is for, such as [\"*.css\"]")
	}
	for i, text := range rule.Paths {
		if _, err := compile(text); err != nil {
			fault("paths", i, "%v", err)
		}
	}
	switch {
	case rule.Do == "":
		fault("do", -1, "missing: want one of %s", strings.Join(Actions, ", "))
	case !slices.Contains(Actions, rule.Do):
		fault("do", -1, "want one of %s, not %.50q", strings.Join(Actions, ", "), rule.Do)
	case rule.Do == Signal && rule.Signal == "":
		fault("signal", -1, "missing: want one of %s", strings.Join(Signals, ", "))
	case rule.Do == Signal && !slices.Contains(Signals, signalName(rule.Signal)):
		fault("signal", -1, "want one of %s, not %.50q", strings.Join(Signals, ", "), rule.Signal)
	case rule.Do != Signal && rule.Signal != "":
		fault("signal", -1, "has no effect with do: %s: leave it out, or say do: signal", rule.Do)
	}
	return faults
}

// signalName returns the name as Signals has it.
func signalName(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "SIG") }

// Any reports whether there are rules.
func (r Rules) Any() bool { return len(r.rules) > 0 }

// Default is what a change of paths asks for that no rule names, or that are
// not known: restart is the service's setting.
func Default(restart bool) Decision { return Decision{Build: true, Restart: restart} }

// Everything is the strongest that there is, for a change of paths that nobody
// knows any more.
func (r Rules) Everything(restart bool) Decision {
	return Decision{Build: true, Restart: restart || r.Any()}
}

// Decide returns what a change of the paths asks for.
func (r Rules) Decide(changed []string, restart bool) Decision {
	var d Decision
	for _, path := range changed {
		if d.Build && d.Restart {
			break // there is nothing stronger
		}
		d.add(r.decide(path, restart))
	}
	return d.settled()
}

func (r Rules) decide(path string, restart bool) Decision {
	for _, rule := range r.rules {
		if !slices.ContainsFunc(rule.patterns, func(p pattern) bool { return p.match(path) }) {
			continue
		}
		switch rule.do {
		case Build:
			return Decision{Build: true, Restart: true}
		case Restart:
			return Decision{Restart: true}
		case InPlace:
			return Decision{Reload: true}
		case Signal:
			return Decision{Signals: []string{rule.signal}}
		}
		return Decision{}
	}
	d := Default(restart)
	d.Build = !r.builds || path == ".fmc/build" || path == ".fmc/build.sh"
	return d
}

// And returns what both ask for together.
func (d Decision) And(other Decision) Decision {
	d.Signals = slices.Clone(d.Signals)
	d.add(other)
	return d.settled()
}

func (d *Decision) add(other Decision) {
	d.Build = d.Build || other.Build
	d.Restart = d.Restart || other.Restart
	d.Reload = d.Reload || other.Reload
	for _, signal := range other.Signals {
		if !slices.Contains(d.Signals, signal) {
			d.Signals = append(d.Signals, signal)
		}
	}
}

// settled leaves out what is part of something stronger.
func (d Decision) settled() Decision {
	if d.Restart {
		d.Reload, d.Signals = false, nil
	}
	return d
}
