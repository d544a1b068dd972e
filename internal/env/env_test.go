package env

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func reader(vars map[string]string) *Reader {
	return NewReader(func(name string) string { return vars[name] })
}

func TestDefaults(t *testing.T) {
	r := reader(nil)
	ports, all := r.Ports("PORTS", "*")
	if r.Int("N", 7, 1, 9) != 7 || !r.Bool("B", true) || r.Duration("D", time.Second) != time.Second || r.Limit("D", time.Hour) != time.Hour ||
		r.Float("F", 0.5, 0, 1) != 0.5 || r.String("S", "x") != "x" || !all || ports != nil {
		t.Error("an unset variable does not have its default")
	}
	if err := r.Err(); err != nil {
		t.Errorf("Err() = %v, want nil", err)
	}
}

func TestValues(t *testing.T) {
	r := reader(map[string]string{"N": "9", "B": "false", "D": "300ms", "F": "1", "P": "80, 8080", "C": "10.1.2.3/8,fd00::1", "L": "a,, b", "M": "250"})
	ports, all := r.Ports("P", "*")
	if !slices.Equal(ports, []uint16{80, 8080}) || all {
		t.Errorf("Ports = %v, %v", ports, all)
	}
	prefixes := r.Prefixes("C")
	if len(prefixes) != 2 || prefixes[0].String() != "10.0.0.0/8" || prefixes[1].String() != "fd00::1/128" {
		t.Errorf("Prefixes = %v", prefixes)
	}
	if r.Int("N", 7, 1, 9) != 9 || r.Bool("B", true) || r.Duration("D", 0) != 300*time.Millisecond || r.Limit("D", 0) != 300*time.Millisecond || r.Float("F", 0, 0, 1) != 1 ||
		!slices.Equal(r.List("L"), []string{"a", "b"}) || r.Millis("M", 0) != 250*time.Millisecond {
		t.Error("a set variable does not have its value")
	}
	if err := r.Err(); err != nil {
		t.Errorf("Err() = %v, want nil", err)
	}
}

func TestFaultsAreAllNamed(t *testing.T) {
	r := reader(map[string]string{"B": "ture", "N": "10", "F": "NaN", "D": "-1s", "L": "0s", "P": "80,0", "C": "10.0.0.0/33", "O": "c"})
	r.Bool("B", false)
	r.Int("N", 1, 1, 9)
	r.Float("F", 0, 0, 1)
	r.Duration("D", 0)
	r.Limit("L", 0)
	r.Ports("P", "*")
	r.Prefixes("C")
	r.OneOf("O", "a", "a", "b")
	err := r.Err()
	if err == nil {
		t.Fatal("Err() = nil, want eight faults")
	}
	for _, want := range []string{
		`B="ture": want true or false`, `N="10": want a whole number from 1 to 9`, `F="NaN"`, `D="-1s"`, `L="0s": want a duration longer than 0`, `P="80,0"`, `C="10.0.0.0/33"`, `O="c": want one of a, b`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Err() lacks %q:\n%v", want, err)
		}
	}
}
