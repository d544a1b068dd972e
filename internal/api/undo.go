package api

import "encoding/json"

// InjectionUndo is what has to be known to take an injection out of a pod
// again: what was added cannot be told from what was there by its name alone.
// It holds what was there only where that was changed or removed.
//
// Its paths are JSON pointers (RFC 6901) in which an item of a list is named by
// its name (a mount by its mountPath), not by its place: others may add items
// before it.
type InjectionUndo struct {
	// Added maps an object or a list to the members that were added to it.
	Added map[string][]string `json:"added,omitempty"`
	// Made lists the objects and lists that were made to hold these; they go
	// again where nothing is left in them.
	Made []string `json:"made,omitempty"`
	// Was maps each member that was changed or removed to what it was.
	Was map[string]json.RawMessage `json:"was,omitempty"`
}
