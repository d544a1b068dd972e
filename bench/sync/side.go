package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/formicarium/formicarium/bench/sync/tree"
)

// Times of the polls.
const (
	tick     = 2 * time.Millisecond
	longTick = 25 * time.Millisecond // of what reads the whole directory
	editMax  = 15 * time.Second
	burstMax = 30 * time.Second
	firstMax = 10 * time.Minute
)

// side is one way in which code reaches a pod.
type side struct {
	name     string // in the report
	object   string // on the cluster
	deployed bool   // by the plugin
	dir      string
	address  string
	program  *program
	client   *http.Client
	edits    int // for tokens
}

// get asks the pod.
func (s *side) get(port int, path string) (status int, body []byte, err error) {
	response, err := s.client.Get(fmt.Sprintf("http://%s:%d%s", s.address, port, path))
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// poll asks until it is so, and returns the time from begun to the answer that
// showed it; negative where it never was.
func poll(ctx context.Context, begun time.Time, limit, every time.Duration, so func() bool) time.Duration {
	for {
		asked := time.Now()
		if so() {
			return time.Since(begun)
		}
		if time.Since(begun) > limit || ctx.Err() != nil {
			return -1
		}
		time.Sleep(every - time.Since(asked))
	}
}

// holds reports whether the pod has the file with that content.
func (s *side) holds(name string, text []byte) bool {
	status, body, err := s.get(contentPort, "/file?path="+url.QueryEscape(name))
	return err == nil && status == http.StatusOK && bytes.Equal(body, text)
}

// lacks reports whether the pod does not have the file.
func (s *side) lacks(name string) bool {
	status, _, err := s.get(contentPort, "/file?path="+url.QueryEscape(name))
	return err == nil && status == http.StatusNotFound
}

// startedAfter reports whether the pod's process started after t.
func (s *side) startedAfter(t time.Time) bool {
	_, body, err := s.get(processPort, "/start")
	if err != nil {
		return false
	}
	text, _, _ := strings.Cut(string(body), " ")
	at, err := strconv.ParseInt(text, 10, 64)
	return err == nil && at > t.UnixNano()
}

// saved is what became of a save.
type saved struct{ content, process time.Duration }

// edit saves a file with new content, in place or by a rename over it.
func (s *side) edit(ctx context.Context, name string, byRename bool) (saved, error) {
	s.edits++
	text, err := tree.Edited(s.dir, name, fmt.Sprintf("%s-%d-%d", s.name, s.edits, time.Now().UnixNano()))
	if err != nil {
		return saved{}, err
	}
	path := filepath.Join(s.dir, name)
	begun := time.Now()
	if byRename {
		temporary := filepath.Join(filepath.Dir(path), ".save.tmp")
		if err = os.WriteFile(temporary, text, 0o644); err == nil {
			err = os.Rename(temporary, path)
		}
	} else {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		return saved{}, err
	}
	return saved{
		content: poll(ctx, begun, editMax, tick, func() bool { return s.holds(name, text) }),
		process: poll(ctx, begun, editMax, tick, func() bool { return s.startedAfter(begun) }),
	}, nil
}

// burst does many changes at once and waits until the pod has them all.
func (s *side) burst(ctx context.Context, change func() ([]tree.Want, error)) (time.Duration, error) {
	begun := time.Now()
	wants, err := change()
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(wants)
	if err != nil {
		return 0, err
	}
	response, err := s.client.Post(fmt.Sprintf("http://%s:%d/want", s.address, contentPort), "application/json", bytes.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("telling the pod what to wait for: %w", err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("telling the pod what to wait for: HTTP %s: %w", response.Status, err)
	}
	return poll(ctx, begun, burstMax, 2*tick, func() bool {
		_, body, err := s.get(contentPort, "/want")
		return err == nil && string(body) == "0"
	}), nil
}

// state is what a directory holds.
type state struct {
	files int
	sum   string
}

func stateOf(dir string) (state, error) {
	sum, err := tree.Sum(dir)
	return state{tree.Count(dir), sum}, err
}

// equal waits until the pod's directory is in that state.
func (s *side) equal(ctx context.Context, begun time.Time, want state) (time.Duration, error) {
	path := fmt.Sprintf("/sum?files=%d", want.files)
	last := ""
	took := poll(ctx, begun, firstMax, longTick, func() bool {
		_, body, err := s.get(contentPort, path)
		last = string(body)
		return err == nil && last == want.sum || s.program.hasEnded()
	})
	if s.program.hasEnded() {
		return 0, fmt.Errorf("%s has ended", s.program.name)
	}
	if took < 0 {
		return 0, fmt.Errorf("the pod's directory is not the local one after %s: want %d files, sum %s; has %q", firstMax, want.files, want.sum, last)
	}
	return took, nil
}
