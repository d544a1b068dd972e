package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Operation is one operation of a JSON patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// document is a JSON document that keeps the operations by which it was
// changed. Its methods do nothing after the first error, which err holds.
type document struct {
	root       any
	operations []Operation
	err        error
}

func parse(data []byte) (*document, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // numbers stay as they were written
	var root any
	if err := decoder.Decode(&root); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the end of the object")
	}
	if _, ok := root.(map[string]any); !ok {
		return nil, errors.New("it is not an object")
	}
	return &document{root: root}, nil
}

func (d *document) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// put sets the member at path. A missing (or null) parent is made; nothing
// happens where the member has that value.
func (d *document) put(value any, path ...string) {
	value = d.generic(value)
	parent, name := path[:len(path)-1], path[len(path)-1]
	switch object := d.get(parent).(type) {
	case nil:
		if len(parent) == 0 {
			d.fail(errors.New("the document is null"))
			return
		}
		d.put(map[string]any{name: value}, parent...)
	case map[string]any:
		old, there := object[name]
		if there && reflect.DeepEqual(old, value) || d.err != nil {
			return
		}
		op := "add"
		if there && old != nil {
			op = "replace"
		}
		object[name] = value
		d.record(op, value, path)
	default:
		d.fail(fmt.Errorf("%s is not an object", pointer(parent)))
	}
}

// insert puts values into the list at path, which is made where it is missing
// (or null), before the item at index; an index of the list's length appends.
func (d *document) insert(index int, path []string, values ...any) {
	if len(values) == 0 {
		return
	}
	items := make([]any, len(values))
	for i, v := range values {
		items[i] = d.generic(v)
	}
	switch list := d.get(path).(type) {
	case nil:
		d.put(items, path...)
	case []any:
		if d.err != nil {
			return
		}
		for i, item := range items {
			at := strconv.Itoa(index + i)
			if index+i >= len(list) {
				at = "-"
			}
			list = slices.Insert(list, min(index+i, len(list)), item)
			d.record("add", item, append(slices.Clone(path), at))
		}
		d.set(path, list)
	default:
		d.fail(fmt.Errorf("%s is not a list", pointer(path)))
	}
}

// add puts values at the end of the list at path.
func (d *document) add(path []string, values ...any) {
	list, _ := d.get(path).([]any)
	d.insert(len(list), path, values...)
}

// remove takes the member at path out of its object, if it is there.
func (d *document) remove(path ...string) {
	object, _ := d.get(path[:len(path)-1]).(map[string]any)
	name := path[len(path)-1]
	if _, there := object[name]; !there || d.err != nil {
		return
	}
	delete(object, name)
	d.operations = append(d.operations, Operation{Op: "remove", Path: pointer(path)})
}

// set stores a list that has grown where its parent finds it.
func (d *document) set(path []string, list []any) {
	if object, ok := d.get(path[:len(path)-1]).(map[string]any); ok {
		object[path[len(path)-1]] = list
	}
}

// get returns the value at path, nil where there is none.
func (d *document) get(path []string) any {
	value := d.root
	for _, token := range path {
		switch parent := value.(type) {
		case map[string]any:
			value = parent[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(parent) {
				return nil
			}
			value = parent[i]
		default:
			return nil
		}
	}
	return value
}

// record keeps an operation with a copy of its value: the document's own goes
// on changing.
func (d *document) record(op string, value any, path []string) {
	value = d.generic(value)
	if value == nil {
		value = json.RawMessage("null") // a nil would be left out
	}
	d.operations = append(d.operations, Operation{Op: op, Path: pointer(path), Value: value})
}

// generic returns value as it looks after a way through JSON; it is always a
// copy.
func (d *document) generic(value any) any {
	data, err := json.Marshal(value)
	if err != nil {
		d.fail(err)
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		d.fail(err)
	}
	return v
}

// escape is how RFC 6901 writes the characters that have a meaning in a JSON
// pointer.
var escape = strings.NewReplacer("~", "~0", "/", "~1")

func pointer(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(escape.Replace(token))
	}
	return b.String()
}
