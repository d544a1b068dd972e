package laws

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPodProgramsRunAnywhere: what is copied into pods is built for each kind of
// node, and asks nothing of the image it comes to, not even a C library.
func TestPodProgramsRunAnywhere(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		dir := t.TempDir()
		build := exec.Command("go", "build", "-o", dir, "./stinger", "./netra", "./netra/netra-init")
		build.Dir = "../.."
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("building for %s: %v\n%s", arch, err, out)
			continue
		}
		for _, program := range []string{"stinger", "netra", "netra-init"} {
			file, err := elf.Open(filepath.Join(dir, program))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if file.Machine != machine {
				t.Errorf("%s for %s is for %s", program, arch, file.Machine)
			}
			for _, part := range file.Progs {
				if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
					t.Errorf("%s for %s is not static: it has %s", program, arch, part.Type)
				}
			}
		}
	}
}

// TestSavesAreMadeOnAllLaptops: what watches and reads a directory has files of its
// own for each system. They are built here, each with all that it needs; the rest of
// the plugin, which takes minutes, at a release.
func TestSavesAreMadeOnAllLaptops(t *testing.T) {
	for _, system := range []string{"windows", "darwin"} {
		build := exec.Command("go", "build", "./kubectl-fmc/snapshot/...") // several packages: nothing is kept
		build.Dir = "../.."
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH=arm64")
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("building for %s: %v\n%s", system, err, out)
		}
	}
}
