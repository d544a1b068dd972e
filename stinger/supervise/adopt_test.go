package supervise

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain runs, in a process of its own, what may not share one with
// processes that os/exec alone waits for.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ADOPT_IN"); dir != "" {
		os.Exit(adopter(dir))
	}
	os.Exit(m.Run())
}

// TestAdoptReapsOrphansAndNobodyElses starts many tasks, whose ends must all
// reach their waiters, while orphans end all the time.
func TestAdoptReapsOrphansAndNobodyElses(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "ADOPT_IN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func adopter(dir string) int {
	if err := Adopt(context.Background()); err != nil {
		println(err.Error())
		return 1
	}
	for i := range 60 {
		code := i % 5
		// setsid, so that the orphan is not killed with its group.
		script := `setsid sh -c 'echo $$ >> orphans; sleep 0.0` + strconv.Itoa(i%3) + `' & exit ` + strconv.Itoa(code)
		_, err := Task{Argv: []string{"/bin/sh", "-c", script}, Dir: dir, Stdout: os.Stdout, Stderr: os.Stderr, Limit: time.Minute}.Run(context.Background())
		switch {
		case code == 0 && err != nil, code != 0 && (err == nil || !strings.Contains(err.Error(), "exit "+strconv.Itoa(code))):
			println("task", i, "ended with", err)
			return 1
		}
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		data, _ := os.ReadFile(filepath.Join(dir, "orphans"))
		left := 0
		pids := strings.Fields(string(data))
		for _, pid := range pids {
			if _, err := os.Stat("/proc/" + pid); err == nil {
				left++
			}
		}
		if left == 0 && len(pids) == 60 {
			return 0
		}
	}
	println("orphans are left unreaped")
	return 1
}
