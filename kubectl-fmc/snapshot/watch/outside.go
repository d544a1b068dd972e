package watch

import (
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// outside is what the rules depend on and stands elsewhere than in the
// directory: a rule that changes there changes what belongs.
type outside struct {
	rules   map[string]bool // files, absolute
	index   string          // git's, or ""
	tracked []string        // as it says
	dirs    map[string]bool // watched for their sake
}

// watchOutside watches the directories of what the rules depend on. The files
// themselves may come and go.
func (w *watcher) watchOutside() {
	root := w.watched[""]
	w.outside = outside{rules: map[string]bool{}, dirs: map[string]bool{}}
	if root == nil {
		return // the directory is gone
	}
	o := &w.outside
	files := root.Outside()
	if o.index, o.tracked = root.Index(), root.Tracked(); o.index != "" {
		files = append(files, o.index)
	}
	for _, file := range files {
		if file != o.index {
			o.rules[file] = true
		}
		dir := filepath.Dir(file)
		if rel, err := filepath.Rel(w.dir, dir); err == nil && w.watched[rel] != nil || o.dirs[dir] {
			continue
		}
		switch err := w.source.Add(dir); {
		case err == nil:
			o.dirs[dir] = true
		case !gone(err):
			// Rules that cannot be watched are no reason to watch nothing: they are
			// read again with the next change of other rules.
			w.limited(err)
		}
	}
}

func (w *watcher) forgetOutside() {
	for dir := range w.outside.dirs {
		w.source.Remove(dir)
	}
	w.outside = outside{}
}

// outsideEvent handles an event that concerns what stands outside, and reports
// whether it did.
func (w *watcher) outsideEvent(e fsnotify.Event) bool {
	o := &w.outside
	switch {
	case e.Op == fsnotify.Chmod: // the content is as it was
		return o.dirs[filepath.Dir(e.Name)]
	case e.Name != "" && e.Name == o.index:
		if !w.retracked() {
			return true
		}
	case !o.rules[e.Name]:
		return o.dirs[filepath.Dir(e.Name)]
	}
	w.startAnew()
	w.mark("", true)
	return true
}

// retracked reads git's index again and reports whether that changes what
// belongs: a file that the rules ignore is tracked now, or is so no more.
// Most changes of the index, as by every commit, are of other files.
func (w *watcher) retracked() bool {
	root, before := w.watched[""], w.outside.tracked
	if root == nil {
		return false
	}
	after := root.Retracked()
	w.outside.tracked = after
	for len(before) > 0 || len(after) > 0 {
		var path string
		switch {
		case len(after) == 0 || len(before) > 0 && before[0] < after[0]:
			path, before = before[0], before[1:]
		case len(before) == 0 || after[0] < before[0]:
			path, after = after[0], after[1:]
		default:
			before, after = before[1:], after[1:]
			continue
		}
		if w.ignores(path) {
			return true
		}
	}
	return false
}

// ignores reports whether the rules ignore the file, or a directory above it.
// It asks the directories that are watched, so it reads nothing.
func (w *watcher) ignores(path string) bool {
	rules := w.watched[""]
	for at := ""; ; {
		name, rest, more := strings.Cut(path[len(at):], "/")
		if rules.Ignores(name, more) {
			return true
		}
		if !more {
			return false
		}
		dir := at + name
		if rules = w.watched[dir]; rules == nil {
			return false // it is not there, so nothing in it is
		}
		at = path[:len(path)-len(rest)]
	}
}
