package devspace

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// A service is in sync where the tree of each container is the directory's, by
// the trees' hashes. After a push the outcomes say so for all that could be
// asked; one that could not, or says otherwise (the connection to its pod was
// cut, its disk was full), is asked to pull again until it has the tree or a
// newer push comes.

// Pauses between two looks at containers that lag behind.
const (
	firstMend = time.Second
	lastMend  = 30 * time.Second
)

// pullLimit is as long as the hub itself waits for a pull.
const pullLimit = 2 * time.Minute

// equal reports whether the outcomes of a push prove that all containers that
// were told have its tree. Where the hub was up to date there are none.
func (p Pushed) equal() bool {
	return !p.UpToDate && !slices.ContainsFunc(p.Outcomes, func(o api.Outcome) bool { return o.Error != "" || o.Result.Tree != p.Tree })
}

// laggard is a container whose tree is not the one that it should be.
type laggard struct {
	stinger
	has string // its tree; "" where that is not known
	why string
}

func (l laggard) name() string { return l.pod.Name + "/" + l.endpoint.Container }

// mend asks containers that do not have the push's tree to pull until they do,
// ctx ends, or the hub itself has another tree by now.
func (d *Directory) mend(ctx context.Context, p Pushed, say func(string)) {
	if p.equal() {
		return
	}
	told := map[string]string{} // what was said of which container
	for wait := firstMend; ctx.Err() == nil; wait = min(2*wait, lastMend) {
		lagging, err := d.lagging(ctx, p.Tree)
		if err == nil && len(lagging) == 0 {
			if len(told) > 0 {
				say("in sync again at " + short(p.Commit))
			}
			return
		}
		var mu sync.Mutex
		moved := false
		sideBySide(len(lagging), func(i int) {
			result, err := d.pullAgain(ctx, lagging[i])
			text := lagging[i].describe(p, result, err)
			mu.Lock()
			defer mu.Unlock()
			moved = moved || err == nil && result.Error == "" && result.Commit != p.Commit && result.Tree != p.Tree
			if text != "" && told[lagging[i].name()] != text {
				told[lagging[i].name()] = text
				say(text)
			}
		})
		if moved {
			return // somebody else pushed; that is told when the hub is compared
		}
		if len(lagging) > 0 && wait == firstMend {
			continue // most have it now: the next look says so
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// lagging returns the containers that do not have the tree.
func (d *Directory) lagging(ctx context.Context, tree string) ([]laggard, error) {
	containers, err := d.containers(ctx, nil)
	if err != nil {
		return nil, err
	}
	states := make([]*laggard, len(containers))
	sideBySide(len(containers), func(i int) {
		status, err := d.client.stingerStatus(ctx, containers[i])
		switch {
		case err != nil:
			states[i] = &laggard{stinger: containers[i], why: err.Error()}
		case status.Tree != tree:
			states[i] = &laggard{stinger: containers[i], has: status.Tree, why: status.LastError}
		}
	})
	var lagging []laggard
	for _, s := range states {
		if s != nil {
			lagging = append(lagging, *s)
		}
	}
	return lagging, nil
}

// pullAgain asks one Stinger to pull the hub's tip: an older commit must not
// come after a newer one that somebody else pushed.
func (d *Directory) pullAgain(ctx context.Context, l laggard) (result api.PullResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, pullLimit)
	defer cancel()
	text, err := d.client.send(ctx, l.stinger, http.MethodPost, "/pull")
	if err != nil {
		return result, fmt.Errorf("asking %s to pull: %w", l.name(), err)
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return result, fmt.Errorf("parsing the answer of %s: %w", l.name(), err)
	}
	return result, nil
}

// describe says what became of a container; "" where the outcomes have said it.
func (l laggard) describe(p Pushed, result api.PullResult, err error) string {
	if err != nil {
		return fmt.Sprintf("%s cannot be asked, trying again: %v", l.name(), err)
	}
	if result.Tree == p.Tree {
		return fmt.Sprintf("%s had %s and not the tree of %s: it pulled again", l.name(), treeText(l.has), short(p.Commit))
	}
	said := slices.ContainsFunc(p.Outcomes, func(o api.Outcome) bool {
		return o.Pod == l.pod.Name && o.Container == l.endpoint.Container && o.Result.Error == result.Error
	})
	if result.Error == "" || said {
		return ""
	}
	return fmt.Sprintf("%s still has %s, trying again: %s", l.name(), treeText(l.has), strings.TrimSpace(result.Error))
}

func treeText(tree string) string {
	if tree == "" {
		return "nothing"
	}
	return "tree " + short(tree)
}
