package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
)

// event handles one event of the source.
func (w *watcher) event(e fsnotify.Event) {
	if w.outsideEvent(e) {
		return
	}
	rel, err := filepath.Rel(w.dir, e.Name)
	if err != nil || e.Name == "" {
		return
	}
	if rel == "." {
		// What is in the directory has events of its own, unless it is gone.
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
			w.forget("")
			w.lost, w.notice = true, fmt.Sprintf("directory %q is gone: looking for it every %v", w.dir, w.options.Poll)
			w.mark("", true)
		}
		return
	}
	rel = filepath.ToSlash(rel)
	dir, name := path.Split(rel)
	rules := w.watched[strings.TrimSuffix(dir, "/")]
	if rules == nil {
		return // of a watch that has been removed
	}
	if name == ignore.GitFile || name == ignore.OwnFile {
		w.startAnew()
		w.mark(rel, true)
		return
	}
	if e.Has(fsnotify.Rename) {
		w.forget(rel)
	} else if e.Has(fsnotify.Remove) {
		delete(w.watched, rel) // it was empty, and its watch went with it
	}
	info, err := os.Lstat(e.Name)
	switch {
	case err != nil:
		// What it was is not known any more: both are asked for.
		if rules.Match(name, false) == ignore.Ignore && rules.Match(name, true) == ignore.Ignore {
			return
		}
	case rules.Match(name, info.IsDir()) == ignore.Ignore:
		return
	case info.IsDir() && e.Has(fsnotify.Create):
		// Whatever was made in it before the watch began is found by the scan
		// that its path stands for, which comes later.
		w.forget(rel)
		if err := w.enter(rules, rel, rules.Match(name, true)); err != nil {
			w.fail(err)
		}
	}
	w.mark(rel, false)
}

// startAnew is restart, where a failure is tried again later.
func (w *watcher) startAnew() {
	if err := w.restart(); err != nil {
		w.fail(err)
	}
}

// fail tells the user of an error that leaves something unwatched, and has it
// looked for until it can be watched: the cause may go without an event.
func (w *watcher) fail(err error) {
	if !w.broken {
		w.notice = err.Error()
	}
	w.broken = true
}

// restart reads the rules anew and watches what they let belong, and nothing
// else. What happens meanwhile is not seen, so a rescan has to follow.
func (w *watcher) restart() error {
	rules, err := ignore.Load(w.dir, w.options.Ignore)
	if err != nil {
		return fmt.Errorf("watching %q: %w", w.dir, err)
	}
	// All watches end first: one that is on a directory which was renamed
	// meanwhile would go on under its old name.
	for rel := range w.watched {
		w.source.Remove(filepath.Join(w.dir, rel))
	}
	w.forgetOutside()
	w.watched = make(map[string]*ignore.Dir, len(w.watched))
	if err := w.add("", rules); err != nil {
		return err
	}
	w.watchOutside()
	return nil
}

// enter watches the directory rel, whose parent has those rules, and all below
// it.
func (w *watcher) enter(parent *ignore.Dir, rel string, v ignore.Verdict) error {
	rules, err := parent.Enter(path.Base(rel), v, nil)
	if err != nil {
		return fmt.Errorf("watching %q: %w", rel, err)
	}
	return w.add(rel, rules)
}

// add watches the directory rel and all below it.
func (w *watcher) add(rel string, rules *ignore.Dir) error {
	abs := filepath.Join(w.dir, rel)
	// The watch comes before the listing: what is made in between is seen at
	// least once.
	if err := w.source.Add(abs); err != nil {
		if gone(err) {
			return nil
		}
		if !w.limited(err) {
			return fmt.Errorf("watching %q: %w", rel, err)
		}
	}
	w.watched[rel] = rules
	list, err := os.ReadDir(abs)
	if err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("watching %q: %w", rel, err)
	}
	for _, de := range list {
		if !de.IsDir() {
			continue
		}
		v := rules.Match(de.Name(), true)
		if v == ignore.Ignore {
			continue
		}
		if err := w.enter(rules, path.Join(rel, de.Name()), v); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the watches of the directory rel and all below it, where
// there are any. A renamed directory's watches would go on under its old name.
func (w *watcher) forget(rel string) {
	if w.watched[rel] == nil {
		return
	}
	w.source.Remove(filepath.Join(w.dir, rel))
	delete(w.watched, rel)
	below := rel + "/"
	if rel == "" {
		below = ""
	}
	for other := range w.watched {
		if strings.HasPrefix(other, below) {
			w.source.Remove(filepath.Join(w.dir, other))
			delete(w.watched, other)
		}
	}
}

// gone reports whether the error says that something is there no more.
func gone(err error) bool {
	return slices.ContainsFunc([]error{fs.ErrNotExist, syscall.ENOTDIR, syscall.EINVAL}, func(target error) bool { return errors.Is(err, target) })
}
