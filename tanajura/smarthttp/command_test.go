package smarthttp

import (
	"strings"
	"testing"
)

// TestCommandsAreReadAsGitReadsThem: what git would carry out, the hub has to
// see, and what it does not understand is no save.
func TestCommandsAreReadAsGitReadsThem(t *testing.T) {
	const capabilities = "\x00report-status side-band-64k"
	read := func(lines ...string) commandList {
		t.Helper()
		text := ""
		for _, line := range lines {
			text += packet(line)
		}
		list, _, err := readCommands(strings.NewReader(text + flushPacket))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	upper := strings.ToUpper(idA)
	list := read(idA+" "+idB+" refs/heads/main"+capabilities, none+" "+upper+" refs/heads/x")
	if list.created() != 1 || list.newID("refs/heads/x") != idA {
		t.Errorf("with an id in capitals the list is %+v", list)
	}
	list = read("shallow "+idA, idA+" "+idB+" refs/heads/main"+capabilities+"\n")
	if list.options || len(list.updates) != 1 {
		t.Errorf("of a shallow clone the list is %+v", list)
	}
	for name, lines := range map[string][]string{
		"no command":            {idA + " " + idB + " refs/heads/main" + capabilities, "x y z"},
		"a certificate":         {"push-cert" + capabilities, idA + " " + idB + " refs/heads/main"},
		"an empty line":         {idA + " " + idB + " refs/heads/main" + capabilities, ""},
		"options behind others": {idA + " " + idB + " refs/heads/main" + capabilities, none + " " + idA + " refs/heads/x\x00push-options"},
		"options before others": {"shallow " + idA + "\x00push-options", idA + " " + idB + " refs/heads/main" + capabilities},
	} {
		if !read(lines...).options {
			t.Errorf("%s: it looks like a save", name)
		}
	}
	if list := read(idA + " " + idB + " refs/heads/main\n" + capabilities); list.newID("refs/heads/main") != "" {
		t.Errorf("a line end in a ref's name is lost: %+v", list)
	}
}
