package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// lastLines of a failed test's output are shown: a failed assertion, and the
	// commands that led to it.
	lastLines = 25
	// lastBytes of one line are: an answer's body can be a page.
	lastBytes = 400
)

// result is what became of the tests and subtests of one part.
type result struct {
	passed, failed, skipped int
	seconds                 float64 // of all packages, which may run side by side
	failures                []failure
}

// failure is a test that failed by itself, not by one of its subtests.
type failure struct {
	test  string // its package's import path and its name
	words []string
}

// event is a line of `go test -json`.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// place is what an event is about: a test, or without one a package.
type place struct{ pkg, test string }

// read reads the events of `go test -json`. A package that fails without a
// test that does, by not building for instance, counts as one failure.
func read(path string) (result, error) {
	var r result
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("reading results: %w", err)
	}
	defer f.Close()
	words := map[place][]string{}
	inner := map[place]bool{} // a test of theirs failed
	events := bufio.NewReader(f)
	for {
		line, err := events.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return r, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return r, fmt.Errorf("reading results in %s: %w", path, err)
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return r, fmt.Errorf("reading results in %s: %w", path, err)
		}
		at := place{e.Package, e.Test}
		switch e.Action {
		case "output":
			words[at] = last(words[at], e.Output)
		case "fail":
			r.fail(at, words[at], inner)
		}
		r.count(e)
		if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			delete(words, at)
		}
	}
}

// count adds what an event says of how many and how long.
func (r *result) count(e event) {
	switch {
	case e.Test == "" && (e.Action == "pass" || e.Action == "fail"):
		r.seconds += e.Elapsed
	case e.Test != "" && e.Action == "pass":
		r.passed++
	case e.Test != "" && e.Action == "skip":
		r.skipped++
	}
}

// fail counts a failure, and keeps its words if nothing within it explains it.
func (r *result) fail(at place, words []string, inner map[place]bool) {
	if at.test != "" || !inner[at] {
		r.failed++
	}
	if !inner[at] {
		r.failures = append(r.failures, failure{strings.TrimSpace(at.pkg + " " + at.test), words})
	}
	for name := at.test; name != ""; {
		name = name[:max(strings.LastIndexByte(name, '/'), 0)]
		inner[place{at.pkg, name}] = true
	}
}

// last is words with one more, of which the newest are kept.
func last(words []string, line string) []string {
	if len(line) > lastBytes {
		line = strings.ToValidUTF8(line[:lastBytes], "") + " …\n"
	}
	if words = append(words, line); len(words) > lastLines {
		words = words[1:]
	}
	return words
}
