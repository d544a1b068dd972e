package main

import (
	"encoding/json"
	"testing"

	"github.com/formicarium/formicarium/webhook/inject"
)

// What `kubectl fmc inject --manual` writes is what the webhook would.
func TestDefaultResourcesAreThoseOfTheLibrary(t *testing.T) {
	c, err := configFrom(minimal)
	if err != nil {
		t.Fatal(err)
	}
	netra, init := inject.DefaultResources()
	for _, pair := range [][2]any{{c.inject.NetraResources, netra}, {c.inject.InitResources, init}} {
		a, err := json.Marshal(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(pair[1])
		if err != nil || string(a) != string(b) {
			t.Errorf("the webhook's are %s, the library's %s, %v", a, b, err)
		}
	}
}
