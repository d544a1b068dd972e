package pull

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manyFiles writes so many files below dir that their pack is a large one, half of
// them with a content that others have, too, and returns what the directory has then.
func manyFiles(f *fixture, dir, text string) (want []string) {
	for i := range earlyObjects + 100 {
		name, content, mode := fmt.Sprintf("%s/f%d", dir, i), fmt.Sprint(text, i), os.FileMode(0o644)
		if i%100 == 0 {
			mode = 0o755
			name += "*"
		}
		f.hub.Write(strings.TrimSuffix(name, "*"), content, mode)
		f.hub.Write(strings.TrimSuffix(name, "*")+".twin", content, 0o644)
		want = append(want, name+" "+content, strings.TrimSuffix(name, "*")+".twin "+content)
	}
	return append(want, dir+"/")
}

// TestEarly: files that are written while they come are as all others, and leave
// nothing behind; a large pack on top of a tree as the first.
func TestEarly(t *testing.T) {
	f := newFixture(t)
	want := manyFiles(f, "dir", "one ")
	f.hub.Write("link", "", 0o644)
	f.hub.Commit()
	f.pull("")
	f.wantTree(append(want, "link ")...)
	want = manyFiles(f, "dir", "two ")
	want = append(want, manyFiles(f, "other", "three ")...)
	f.hub.Commit()
	f.local("own", "o")
	if r := f.pull(""); r.Changed != 4*(earlyObjects+100) {
		t.Errorf("%d files changed", r.Changed)
	}
	f.wantTree(append(want, "link ", "own o")...)
}

// TestEarlyOverVolumes: what is another file system in the directory gets its files,
// too, though they were written on the directory's own.
func TestEarlyOverVolumes(t *testing.T) {
	f := newFixture(t)
	f.hub.Write("vol/a", "a", 0o644)
	f.hub.Commit()
	f.pull("")
	f.mount("vol", "size=64m")
	want := manyFiles(f, "vol", "volume ")
	f.hub.Commit()
	f.pull("")
	f.wantTree(want...)
}

// TestEarlyOfADeadProcess: what a process wrote early and did not live to place is
// removed by the next, also where nothing was ever pulled.
func TestEarlyOfADeadProcess(t *testing.T) {
	f := newFixture(t)
	f.local(incoming+"/7", "left")
	f.open()
	if _, err := f.p.Verify(); err != nil {
		t.Fatal(err)
	}
	f.wantTree()
	want := manyFiles(f, "dir", "one ")
	f.hub.Commit()
	f.pull("")
	f.wantTree(want...)
	f.local(incoming+"/7", "left")
	f.open()
	if _, err := f.p.Verify(); err != nil {
		t.Fatal(err)
	}
	f.wantTree(want...)
}

// TestEarlyLeavesAnImagesFiles: before the first pull the files may all be here.
func TestEarlyLeavesAnImagesFiles(t *testing.T) {
	f := newFixture(t)
	manyFiles(f, "dir", "one ")
	f.hub.Commit()
	f.local("dir/f1", "one 1")
	before, err := os.Stat(filepath.Join(f.app, "dir/f1"))
	if err != nil {
		t.Fatal(err)
	}
	if r := f.pull(""); r.Changed != 2*(earlyObjects+100)-1 {
		t.Errorf("%d files changed, want all but one", r.Changed)
	}
	after, err := os.Stat(filepath.Join(f.app, "dir/f1"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the image's own file was written anew (%v)", err)
	}
}
