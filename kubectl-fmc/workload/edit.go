package workload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/formicarium/formicarium/webhook/inject"
	"go.yaml.in/yaml/v3"
	kyaml "sigs.k8s.io/yaml"
)

// edit makes the document what the operations make of it. In YAML the order of
// keys, comments and quotes stay; blank lines go. Where this does not give what
// it should, as with anchors that stand for several places, the document is
// written anew from its values.
func (d *document) edit(operations []inject.Operation) error {
	changed, err := apply(d.json, operations)
	if err != nil {
		return fmt.Errorf("patching %s: %w", d.place, err)
	}
	text, err := d.render(changed, operations)
	if err != nil {
		return fmt.Errorf("writing %s: %w", d.place, err)
	}
	if len(d.separator) > 0 && !bytes.HasSuffix(d.separator, []byte("\n")) {
		text = append([]byte("\n"), text...)
	}
	if bytes.Contains(d.text, []byte("\r\n")) {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	d.text = text
	return nil
}

func (d *document) render(changed []byte, operations []inject.Operation) ([]byte, error) {
	if trimmed := bytes.TrimSpace(d.text); trimmed[0] == '{' && json.Valid(trimmed) {
		return renderJSON(trimmed, operations)
	}
	text, err := renderYAML(d.text, operations)
	if err == nil && sameValues(text, changed) {
		return text, nil
	}
	return kyaml.JSONToYAML(changed)
}

// apply applies a patch to a JSON text.
func apply(text []byte, operations []inject.Operation) ([]byte, error) {
	encoded, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		return nil, err
	}
	options := jsonpatch.NewApplyOptions()
	options.EscapeHTML = false
	return patch.ApplyWithOptions(text, options)
}

// renderJSON keeps the order of keys, and one line one line.
func renderJSON(text []byte, operations []inject.Operation) ([]byte, error) {
	changed, err := apply(text, operations)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if !bytes.Contains(text, []byte("\n")) {
		err = json.Compact(&out, changed)
	} else {
		indent := "  "
		if _, after, found := bytes.Cut(text, []byte("\n")); found {
			if n := len(after) - len(bytes.TrimLeft(after, " \t")); n > 0 {
				indent = string(after[:n])
			}
		}
		err = json.Indent(&out, changed, "", indent)
	}
	out.WriteByte('\n')
	return out.Bytes(), err
}

func sameValues(text, want []byte) bool {
	got, err := kyaml.YAMLToJSON(text)
	if err != nil {
		return false
	}
	a, errA := decode(got)
	b, errB := decode(want)
	return errA == nil && errB == nil && reflect.DeepEqual(a, b)
}

func renderYAML(text []byte, operations []inject.Operation) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	if len(root.Content) != 1 {
		return nil, errors.New("there is no object")
	}
	style := styleOf(root.Content[0])
	for _, op := range operations {
		if err := applyNode(root.Content[0], op); err != nil {
			return nil, fmt.Errorf("%s %s: %w", op.Op, op.Path, err)
		}
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(style.indent)
	if style.compact {
		e.CompactSeqIndent()
	}
	if err := errors.Join(e.Encode(&root), e.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// applyNode applies one operation. Its path has been made for the same values,
// so what it leads to is there.
func applyNode(node *yaml.Node, op inject.Operation) error {
	path := strings.Split(strings.TrimPrefix(op.Path, "/"), "/")
	for i, token := range path {
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
	}
	for _, token := range path[:len(path)-1] {
		i := place(node, token)
		if i < 0 {
			return fmt.Errorf("there is no %q", token)
		}
		if node.Content[i].Kind == yaml.AliasNode {
			// What it stands for is shared with another place, which must stay
			// as it is: this one becomes a copy.
			node.Content[i] = copied(node.Content[i].Alias)
		}
		node = node.Content[i]
	}
	last := path[len(path)-1]
	i := place(node, last)
	if op.Op == "remove" {
		switch {
		case i < 0:
			return errors.New("there is nothing")
		case node.Kind == yaml.MappingNode:
			node.Content = slices.Delete(node.Content, i-1, i+1)
		default:
			node.Content = slices.Delete(node.Content, i, i+1)
		}
		return nil
	}
	value, err := valueNode(op.Value)
	if err != nil {
		return err
	}
	if len(node.Content) == 0 {
		node.Style &^= yaml.FlowStyle // it was written as {} or []
	}
	switch {
	case node.Kind == yaml.MappingNode && i >= 0, node.Kind == yaml.SequenceNode && i >= 0 && op.Op == "replace":
		node.Content[i] = value
	case node.Kind == yaml.MappingNode:
		key := &yaml.Node{}
		key.SetString(last)
		node.Content = append(node.Content, key, value)
	case node.Kind == yaml.SequenceNode && i >= 0:
		node.Content = slices.Insert(node.Content, i, value)
	case node.Kind == yaml.SequenceNode:
		node.Content = append(node.Content, value)
	default:
		return errors.New("it is neither an object nor a list")
	}
	return nil
}

// copied returns a node of the same value with no anchor in it: a name is given
// once.
func copied(node *yaml.Node) *yaml.Node {
	c := *node
	c.Anchor = ""
	c.Content = nil
	for _, child := range node.Content {
		c.Content = append(c.Content, copied(child))
	}
	return &c
}

// place returns where in the node's content the value of that key, or the item
// with that number, is, or -1.
func place(node *yaml.Node, token string) int {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == token {
				return i + 1
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(node.Content) {
			return i
		}
	}
	return -1
}

func valueNode(value any) (*yaml.Node, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if text, err = kyaml.JSONToYAML(text); err != nil {
		return nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	return root.Content[0], nil
}

// style is how a text is indented.
type style struct {
	indent  int
	compact bool // lists stand as far left as their key
	// known says which of these the text has shown.
	indentKnown, listKnown bool
}

func styleOf(node *yaml.Node) style {
	s := style{indent: 2, compact: true}
	s.look(node)
	return s
}

func (s *style) look(node *yaml.Node) {
	if node.Kind == yaml.MappingNode && node.Style&yaml.FlowStyle == 0 {
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if value.Style&yaml.FlowStyle != 0 || value.Line == key.Line {
				continue
			}
			deeper := value.Column - key.Column
			switch {
			case value.Kind == yaml.MappingNode && !s.indentKnown && deeper >= 2 && deeper <= 8:
				s.indent, s.indentKnown = deeper, true
			case value.Kind == yaml.SequenceNode && !s.listKnown:
				s.compact, s.listKnown = deeper == 0, true
			}
		}
	}
	for _, child := range node.Content {
		s.look(child)
	}
}
