package certificate

import (
	"bytes"
	"testing"
	"time"
)

func TestMerge(t *testing.T) {
	now := time.Now()
	a, b, ended := makePair(t, now, life).CA, makePair(t, now, life).CA, makePair(t, now.Add(-2*life), life).CA
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for what, c := range map[string]struct {
		old    []byte
		wanted [][]byte
		retire bool
		want   []byte
	}{
		"nothing there":            {nil, [][]byte{a}, false, a},
		"there already":            {a, [][]byte{a}, false, a},
		"another is kept":          {a, [][]byte{b}, false, join(a, b)},
		"another is retired":       {join(a, b), [][]byte{b}, true, b},
		"what has ended is gone":   {join(ended, a), [][]byte{a}, false, a},
		"twice is once":            {join(a, a), [][]byte{a, a}, false, a},
		"what is no PEM is gone":   {[]byte("garbage"), [][]byte{a}, false, a},
		"a key is gone":            {join(a, makePair(t, now, life).Key), [][]byte{a}, false, a},
		"text between is let be":   {join(a, []byte("# mine\n"), b), [][]byte{a, b}, false, join(a, []byte("# mine\n"), b)},
		"nothing wanted, one kept": {a, nil, false, a},
	} {
		if got := merge(c.old, c.wanted, c.retire, now); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", what, names(got, now), names(c.want, now))
		}
	}
	var bundle []byte
	for range maxAuthorities + 3 {
		bundle = merge(bundle, [][]byte{makePair(t, now, life).CA}, false, now)
	}
	if n := len(authorities(bundle, now)); n != maxAuthorities {
		t.Errorf("a bundle grows to %d authorities", n)
	}
	if got := merge(bundle, [][]byte{a}, false, now); !trusts(got, a, now) {
		t.Error("a full bundle takes no new authority")
	}
	// Ours stays, however many come behind it.
	if got := merge(join(a, bundle), [][]byte{a}, false, now); !trusts(got, a, now) || !bytes.Equal(merge(got, [][]byte{a}, false, now), got) {
		t.Error("a full bundle loses the authority that is served")
	}
}
