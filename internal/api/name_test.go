package api

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "orders", "orders-2", "o2-b", strings.Repeat("a", 63)} {
		if err := CheckName("service", name); err != nil {
			t.Errorf("CheckName(%q) = %v, want nil", name, err)
		}
	}
	for name, part := range map[string]string{
		"":                      "empty",
		strings.Repeat("a", 64): "64 characters",
		"Orders":                `"O" at position 1`,
		"2orders":               `"2" at position 1`,
		"-a":                    `"-" at position 1`,
		"a-":                    "ends in '-'",
		"a/b":                   `"/" at position 2`,
		"..":                    `"." at position 1`,
		"a.git":                 `"." at position 2`,
		"a\x00":                 "at position 2",
		"ä":                     "at position 1",
	} {
		err := CheckName("service", name)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("CheckName(%q) = %v, want an error with %q", name, err, part)
		}
	}
}
