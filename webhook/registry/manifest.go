package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/formicarium/formicarium/webhook/inject"
)

// Platform is what an image is made for; empty fields say nothing.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

// String returns "linux/arm64", or "" where nothing is said.
func (p Platform) String() string {
	if p == (Platform{}) {
		return ""
	}
	return p.OS + "/" + p.Architecture
}

// matches reports whether an image made for q is one for p.
func (p Platform) matches(q Platform) bool {
	return (p.OS == "" || p.OS == q.OS) && (p.Architecture == "" || p.Architecture == q.Architecture)
}

// manifest is what is read of a manifest or an index. The full types of either
// have fields whose memory is many times the size of hostile JSON.
type manifest struct {
	Config struct {
		Digest string `json:"digest"`
	} `json:"config"`
	Manifests entries `json:"manifests"`
}

// entry is one image of an index.
type entry struct {
	Digest   string   `json:"digest"`
	Platform Platform `json:"platform"`
}

var errNoImage = faultError{"it is not an image"}

// maxEntries bounds an index; the largest official images have some twenty,
// each with an attestation.
const maxEntries = 1000

// entries are those of an index, read one by one: a million empty ones would
// fit into a body.
type entries []entry

// UnmarshalJSON implements json.Unmarshaler.
func (e *entries) UnmarshalJSON(data []byte) error {
	return each(data, func(d *json.Decoder) error {
		if len(*e) == maxEntries {
			return faultError{fmt.Sprintf("its index has more than %d entries", maxEntries)}
		}
		var one entry
		err := d.Decode(&one)
		*e = append(*e, one)
		return err
	})
}

// words are those of a command, read like entries.
type words []string

// maxCommand bounds the words of a command, in bytes: it becomes a part of the
// pod. It is far above any that a program is started with.
const maxCommand = 32 << 10

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(data []byte) error {
	size := 0
	return each(data, func(d *json.Decoder) error {
		var word string
		if err := d.Decode(&word); err != nil {
			return err
		}
		// 4 bytes for the quotes, a comma and what else comes with a word.
		if size += len(word) + 4; size > maxCommand || strings.ContainsRune(word, 0) {
			return faultError{"its command is none that a program could be started with"}
		}
		*w = append(*w, word)
		return nil
	})
}

// each calls read for each item of a JSON list; null is an empty one.
func each(data []byte, read func(*json.Decoder) error) error {
	if string(data) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return errNoImage
	}
	for d.More() {
		if err := read(d); err != nil {
			return err
		}
	}
	return nil
}

// parseManifest reads a manifest or an index.
func parseManifest(data []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return manifest{}, faultOf(err)
	}
	return m, nil
}

// parseConfig reads an image's configuration.
func parseConfig(data []byte) (inject.ImageCommand, error) {
	var c struct {
		Config struct {
			Entrypoint, Cmd words
		} `json:"config"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return inject.ImageCommand{}, faultOf(err)
	}
	return inject.ImageCommand{Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd}, nil
}

// faultOf returns the fault within a decoder's error; any other means that this
// is something else.
func faultOf(err error) error {
	if own := (faultError{}); errors.As(err, &own) {
		return own
	}
	return errNoImage
}

// Stinger's own platforms, in the order in which they are taken where a pod
// does not choose.
var platforms = []Platform{{"linux", "amd64"}, {"linux", "arm64"}}

// choose returns the entry for the platform, and another one that the pod may
// run as well, with which to compare.
func (m manifest) choose(p Platform) (chosen, other *entry, err error) {
	for _, want := range platforms {
		if !p.matches(want) {
			continue
		}
		for i := range m.Manifests {
			switch e := &m.Manifests[i]; {
			case !want.matches(e.Platform):
			case chosen == nil:
				chosen = e
			case other == nil && e.Platform.Architecture != chosen.Platform.Architecture:
				other = e
			}
		}
	}
	if chosen != nil {
		return chosen, other, nil
	}
	for i := range m.Manifests {
		if e := &m.Manifests[i]; p.matches(e.Platform) && e.Platform.OS == "linux" {
			return e, nil, nil
		}
	}
	if p == (Platform{}) {
		p = platforms[0]
	}
	return nil, nil, faultError{"it has no image for " + short(strings.Trim(p.String(), "/"))}
}

// short cuts a text that the user wrote, for a fault.
func short(text string) string {
	const limit = 24
	if !utf8.ValidString(text) || len(text) > limit {
		return strings.ToValidUTF8(text[:min(limit, len(text))], "") + "…"
	}
	return text
}
