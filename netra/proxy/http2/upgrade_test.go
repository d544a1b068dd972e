package http2

import (
	"fmt"
	"iter"
	"strings"
	"testing"
)

// given yields fields that are written as name: value.
func given(fields ...string) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			if !yield([]byte(name), []byte(value)) {
				return
			}
		}
	}
}

func TestUpgradeRequest(t *testing.T) {
	const one, none = "HTTP2-Settings: AAEAAQAA", "HTTP2-Settings: "
	tests := []struct {
		fields []string
		want   string
	}{
		{[]string{"Upgrade: h2c", one}, "[{1 65536}] true"},
		{[]string{"upgrade: websocket, H2C", "http2-settings: AAEAAQAAAAMAAABk"}, "[{1 65536} {3 100}] true"},
		{[]string{"Upgrade: h2c", none}, "[] true"},
		{[]string{"Upgrade: h2c"}, "[] false"},
		{[]string{one}, "[] false"},
		{[]string{"Upgrade: websocket", one}, "[] false"},
		{[]string{"Upgrade: h2c", one, one}, "[] false"},
		{[]string{"Upgrade: h2c", "HTTP2-Settings: AAEAAQA"}, "[] false"},
		{[]string{"Upgrade: h2c", "HTTP2-Settings: ????"}, "[] false"},
		{[]string{"Upgrade: h2c", "HTTP2-Settings: " + strings.Repeat("AAEAAQAA", 41)}, "[] false"},
	}
	for _, tt := range tests {
		settings, asked := UpgradeRequest(given(tt.fields...))
		if got := fmt.Sprint(settings, asked); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.fields, got, tt.want)
		}
	}
}

func TestUpgradeResponse(t *testing.T) {
	for value, want := range map[string]bool{"h2c": true, "H2C": true, "websocket": false, "": false} {
		if got := UpgradeResponse(given("Connection: Upgrade", "Upgrade: "+value)); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}
