package inject

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// The record that undoes an injection is the difference between the pod as it
// was sent and as it is returned, whatever made it: code that changes a pod
// need not know of it.

// Bounds of a record. Its text is one of the pod's annotations, which may have
// 256 KiB together; an ordinary one has half a kilobyte. Entries, and items of
// the lists that they lead through, bound the time that a record takes which
// somebody else wrote; ninety supervised containers have some 800 entries.
const (
	maxUndoBytes   = 64 << 10
	maxUndoEntries = 2000
	maxUndoItems   = 2000
)

// undo returns the record for what was done in this and in earlier injections,
// or nil where there can be none.
func (in *injection) undo() *api.InjectionUndo {
	base := &document{root: clone(in.original)}
	switch {
	case in.previous.Undo != nil:
		if tooMany(in.previous.Undo) {
			return nil
		}
		base.revert(in.previous.Undo)
	case len(in.previous.Injected) > 0:
		return nil // its writer kept none, and what was there before is not known
	}
	// The status itself is the last thing to be written.
	after := &document{root: clone(in.doc.root)}
	after.put("", "metadata", "annotations", api.AnnotationStatus)
	c := comparison{undo: &api.InjectionUndo{Added: map[string][]string{}, Was: map[string]json.RawMessage{}}}
	c.compare(nil, base.root, after.root)
	if c.size > maxUndoBytes || tooMany(c.undo) {
		in.warn("what was there before is too large to be kept in %s: kubectl fmc uninject will not work", api.AnnotationStatus)
		return nil
	}
	return c.undo
}

func tooMany(u *api.InjectionUndo) bool {
	n := len(u.Made) + len(u.Was)
	for _, names := range u.Added {
		n += len(names)
	}
	return n > maxUndoEntries
}

// comparison writes down how to get back.
type comparison struct {
	undo *api.InjectionUndo
	size int // bytes, about
}

func (c *comparison) compare(path []string, before, after any) {
	switch was := before.(type) {
	case map[string]any:
		if now, ok := after.(map[string]any); ok {
			c.objects(path, was, now)
			return
		}
	case []any:
		if now, ok := after.([]any); ok && c.lists(path, was, now) {
			return
		}
	}
	if !reflect.DeepEqual(before, after) {
		c.was(path, before)
	}
}

func (c *comparison) objects(path []string, before, after map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, there := after[name]; !there {
			c.was(child(path, name), before[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		at := child(path, name)
		was, there := before[name]
		empty := emptyLike(name, after[name])
		switch {
		case was != nil || there && empty == nil:
			c.compare(at, was, after[name])
		case empty == nil:
			c.added(path, name)
		case there: // as null
			c.was(at, nil)
			c.compare(at, empty, after[name])
		default:
			c.undo.Made = append(c.undo.Made, pointer(at))
			c.size += len(name)
			c.compare(at, empty, after[name])
		}
	}
}

// emptyLike returns an empty value for one that others may add to as well,
// once it is there. It is nil for values that come and go as a whole.
func emptyLike(name string, value any) any {
	if !slices.Contains([]string{"metadata", "labels", "annotations", "containers", "initContainers", "volumes", "env", "volumeMounts"}, name) {
		return nil
	}
	switch value := value.(type) {
	case map[string]any:
		return map[string]any{}
	case []any:
		if _, ok := keysOf(name, value); ok {
			return []any{}
		}
	}
	return nil
}

// lists reports whether before can be had from after by taking items out and
// changing others.
func (c *comparison) lists(path []string, before, after []any) bool {
	list := path[len(path)-1]
	old, ok := keysOf(list, before)
	now, also := keysOf(list, after)
	if !ok || !also {
		return false
	}
	places := make(map[string]int, len(old))
	for i, key := range old {
		places[key] = i
	}
	var kept []string
	for _, key := range now {
		if _, there := places[key]; there {
			kept = append(kept, key)
		}
	}
	if !slices.Equal(kept, old) {
		return false
	}
	for i, key := range now {
		if place, there := places[key]; there {
			c.compare(child(path, key), before[place], after[i])
		} else {
			c.added(path, key)
		}
	}
	return true
}

func (c *comparison) was(path []string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte("null") // a value that was JSON has a JSON form
	}
	c.undo.Was[pointer(path)] = text
	c.size += len(text)
}

func (c *comparison) added(path []string, name string) {
	at := pointer(path)
	c.undo.Added[at] = append(c.undo.Added[at], name)
	c.size += len(name)
}

// revert takes out what the record says. What is gone already is passed over.
func (d *document) revert(u *api.InjectionUndo) {
	for _, at := range slices.Sorted(maps.Keys(u.Added)) {
		for _, name := range u.Added[at] {
			if path, ok := d.resolve(append(tokens(at), name)); ok {
				d.take(path)
			}
		}
	}
	for _, at := range slices.Sorted(maps.Keys(u.Was)) {
		path := tokens(at)
		if len(path) == 0 {
			continue
		}
		parent, ok := d.resolve(path[:len(path)-1])
		if _, object := d.get(parent).(map[string]any); !ok || !object {
			continue
		}
		var value any = u.Was[at]
		name := path[len(path)-1]
		full := child(parent, name)
		if now := d.get(full); string(u.Was[at]) == "null" && emptyLike(name, now) != nil && !isEmpty(now) {
			continue // others have put something in it since
		}
		d.put(value, full...)
	}
	// The deepest first: what holds them may be empty then.
	for _, at := range slices.Backward(slices.Sorted(slices.Values(u.Made))) {
		if path, ok := d.resolve(tokens(at)); ok && len(path) > 0 && isEmpty(d.get(path)) {
			d.take(path)
		}
	}
}

// resolve turns the names of items into their places. It reports whether all
// of the path is there.
func (d *document) resolve(path []string) ([]string, bool) {
	var places []string
	value := d.root
	for i, token := range path {
		switch parent := value.(type) {
		case map[string]any:
			member, there := parent[token]
			if !there {
				return nil, false
			}
			value, places = member, append(places, token)
		case []any:
			list := ""
			if i > 0 {
				list = path[i-1]
			}
			if len(parent) > maxUndoItems {
				return nil, false
			}
			place := slices.IndexFunc(parent, func(item any) bool {
				key, ok := keyOf(list, item)
				return ok && key == token
			})
			if place < 0 {
				return nil, false
			}
			value, places = parent[place], append(places, strconv.Itoa(place))
		default:
			return nil, false
		}
	}
	return places, true
}

// take removes the member or the item at a path that is there.
func (d *document) take(path []string) {
	parent := path[:len(path)-1]
	list, ok := d.get(parent).([]any)
	if !ok {
		d.remove(path...)
		return
	}
	place, err := strconv.Atoi(path[len(path)-1])
	if err != nil || d.err != nil {
		return
	}
	d.set(parent, slices.Delete(slices.Clone(list), place, place+1))
	d.operations = append(d.operations, Operation{Op: "remove", Path: pointer(path)})
}

// keysOf returns the keys of a list's items, and false where these do not tell
// them apart.
func keysOf(list string, items []any) ([]string, bool) {
	if len(items) > maxUndoItems {
		return nil, false
	}
	keys := make([]string, len(items))
	seen := make(map[string]bool, len(items))
	for i, item := range items {
		key, ok := keyOf(list, item)
		if !ok || seen[key] {
			return nil, false
		}
		keys[i], seen[key] = key, true
	}
	return keys, true
}

// keyOf returns what the API tells a list's item by.
func keyOf(list string, item any) (string, bool) {
	object, ok := item.(map[string]any)
	if !ok {
		return "", false
	}
	member := "name"
	switch list {
	case "volumeMounts":
		member = "mountPath"
	case "volumeDevices":
		member = "devicePath"
	}
	key, ok := object[member].(string)
	return key, ok && key != ""
}

func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}

// clone returns a deep copy of a JSON value.
func clone(value any) any {
	switch value := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(value))
		for name, member := range value {
			copied[name] = clone(member)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, item := range value {
			copied[i] = clone(item)
		}
		return copied
	}
	return value
}

func child(path []string, name string) []string { return append(slices.Clone(path), name) }

// unescape is the reverse of escape; "~01" is "~1".
var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// tokens is the reverse of pointer.
func tokens(at string) []string {
	if at == "" {
		return nil
	}
	path := strings.Split(strings.TrimPrefix(at, "/"), "/")
	for i, token := range path {
		path[i] = unescape.Replace(token)
	}
	return path
}
