package handover

import (
	"reflect"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/env"
)

func TestParse(t *testing.T) {
	got, err := Parse(" 8080, admin=9090")
	if want := []Socket{{"8080", 8080}, {"admin", 9090}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Parse = %+v, %v", got, err)
	}
	if again, err := Parse(Text(got)); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("Parse(%q) = %+v, %v", Text(got), again, err)
	}
	if got, err := Parse(""); got != nil || err != nil {
		t.Errorf("Parse of nothing = %v, %v", got, err)
	}
	reader := env.NewReader(func(string) string { return "8080,x,0,65536,a:b=1,=2,http=8080,24000," })
	if got := Read(reader); got != nil || len(reader.Faults()) != 8 {
		t.Errorf("Read = %v with %d faults, want 8:\n%v", got, len(reader.Faults()), reader.Err())
	}
	var many []Socket
	for port := 1; port <= maxSockets+1; port++ {
		many = append(many, Socket{"x", port})
	}
	if _, err := Parse(Text(many)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("Parse of %d = %v", len(many), err)
	}
}
