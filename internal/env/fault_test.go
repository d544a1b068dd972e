package env

import (
	"slices"
	"strings"
	"testing"
)

func TestHTTPURL(t *testing.T) {
	for text, want := range map[string]string{
		"": "http://default", "https://c:4318/x": "https://c:4318/x", "http://ann:secret@c": "http://ann:secret@c",
		"c:4318": "", "ftp://c": "", "http://": "", "http://:80": "", "/c": "", "http://c\x7f": "",
	} {
		r := reader(map[string]string{"U": text})
		u := r.HTTPURL("U", "http://default")
		if got := u; want == "" && (got != nil || r.Err() == nil) || want != "" && (got == nil || got.String() != want || r.Err() != nil) {
			t.Errorf("HTTPURL of %q = %v, %v", text, got, r.Err())
		}
	}
	r := reader(map[string]string{"U": "ftp://ann:secret@c"})
	if r.HTTPURL("U", ""); strings.Contains(r.Err().Error(), "secret@") {
		t.Errorf("the fault shows a password: %v", r.Err())
	}
}

func TestDirectory(t *testing.T) {
	r := reader(map[string]string{"A": "/srv/app", "B": "app", "C": "/", "D": "/a/.."})
	if got := r.Directory("A", "/x") + r.Directory("E", "/x"); got != "/srv/app/x" || r.Err() != nil {
		t.Errorf("Directory = %q, %v", got, r.Err())
	}
	for _, name := range []string{"B", "C", "D"} {
		r.Directory(name, "/x")
	}
	if n := len(r.Faults()); n != 3 {
		t.Errorf("%d faults, want 3: %v", n, r.Err())
	}
}

func TestFaultsKeepTheirVariables(t *testing.T) {
	r := reader(nil)
	r.Fault("A", "1", "another number than B's", "B")
	r.FaultOfSecret("C", "a password")
	faults := r.Faults()
	if len(faults) != 2 || faults[0].Name != "A" || !slices.Equal(faults[0].Others, []string{"B"}) || faults[1].Value == "" {
		t.Errorf("Faults() = %v", faults)
	}
}
