package workload

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"
)

// File is a named text of any number of YAML or JSON documents.
type File struct {
	Name string
	Data []byte
}

// document is one of a file's documents.
type document struct {
	// place is for people: "x.yaml" or "x.yaml, document 2".
	place string
	// separator is the line before it, "" at the beginning of a file.
	separator []byte
	text      []byte
	// object is nil where the text holds none, such as one of comments.
	object map[string]any
	json   []byte
}

// split cuts a file into its documents; their separators and texts together are
// the file again.
func split(f File) []*document {
	var documents []*document
	current := &document{}
	for line := range bytes.Lines(f.Data) {
		mark, rest := markOf(line)
		if mark == nil {
			current.text = append(current.text, line...)
			continue
		}
		if len(current.separator)+len(current.text) > 0 {
			documents = append(documents, current)
		}
		current = &document{separator: mark, text: rest}
	}
	if len(current.separator)+len(current.text) > 0 {
		documents = append(documents, current)
	}
	for i, d := range documents {
		d.place = f.Name
		if len(documents) > 1 {
			d.place = fmt.Sprintf("%s, document %d", f.Name, i+1)
		}
	}
	return documents
}

// markOf returns what of a line separates documents, and what of it belongs to
// the next one.
func markOf(line []byte) (mark, rest []byte) {
	for _, m := range []string{"---", "..."} {
		after, found := bytes.CutPrefix(line, []byte(m))
		switch content := bytes.TrimSpace(after); {
		case !found || len(after) > 0 && !bytes.ContainsRune([]byte(" \t\r\n"), rune(after[0])):
		case len(content) == 0 || content[0] == '#':
			return slices.Clone(line), nil
		default:
			return []byte(m), slices.Clone(after)
		}
	}
	return nil, nil
}

// parse reads the document as kubectl does.
func (d *document) parse() error {
	if len(bytes.TrimSpace(d.text)) == 0 {
		return nil
	}
	text, err := yaml.YAMLToJSON(d.text)
	if err != nil {
		return fmt.Errorf("parsing %s: %w", d.place, err)
	}
	value, err := decode(text)
	if err != nil {
		return fmt.Errorf("parsing %s: %w", d.place, err)
	}
	switch object := value.(type) {
	case nil: // comments only
	case map[string]any:
		d.object, d.json = object, text
	default:
		return fmt.Errorf("parsing %s: %w", d.place, errors.New("it is not an object"))
	}
	return nil
}

// join writes documents one after the other. Between two files there is a
// separator.
func join(files [][]*document) []byte {
	var out []byte
	for _, documents := range files {
		for i, d := range documents {
			if len(out) > 0 && out[len(out)-1] != '\n' && len(d.separator)+len(d.text) > 0 {
				out = append(out, '\n')
			}
			if i == 0 && len(out) > 0 && len(d.separator) == 0 {
				out = append(out, "---\n"...)
			}
			out = append(append(out, d.separator...), d.text...)
		}
	}
	return out
}
