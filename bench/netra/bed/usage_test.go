package bed

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	const line = "4711 (a) (b) R 12 4711 4711 0 -1 4194304 100 0 0 0 250 150 7 8 20 0 5 0 1000 0 0\n"
	got, err := parseStat(line)
	if want := (stat{parent: 12, ticks: 400}); err != nil || got != want {
		t.Errorf("parseStat = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x) R 1", "1 (x) R 1 2 3 4 5 6 7 8 9 10 user 12", "no parentheses 1 2 3 4 5 6 7 8 9 10 11 12 13"} {
		if got, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestMemoryAddsUpProcesses(t *testing.T) {
	const status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n"
	var m Memory
	for range 2 {
		if err := m.add([]byte(status)); err != nil {
			t.Fatal(err)
		}
	}
	if want := (Memory{RSS: 2048, Peak: 4096, Threads: 6}); m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
	for _, bad := range []string{"Threads:\t1\n", "VmHWM:\t1 MB\nVmRSS:\t1 kB\nThreads:\t1\n"} {
		if err := new(Memory).add([]byte(bad)); err == nil {
			t.Errorf("add(%q) = nil, want an error", bad)
		}
	}
}

// The kernel's own text is understood.
func TestThisProcess(t *testing.T) {
	self := []int{os.Getpid()}
	m, err := memory(self)
	if err != nil || m.RSS == 0 || m.Peak < m.RSS/2 || m.Threads == 0 || m.Descriptors < 3 || m.Processes != 1 {
		t.Errorf("memory = %+v, %v", m, err)
	}
	if s, err := readStat(self[0]); err != nil || s.parent != os.Getppid() {
		t.Errorf("readStat = %+v, %v, want the parent %d", s, err, os.Getppid())
	}
	if all, err := machineSeconds(); err != nil || all <= cpuSeconds(self) {
		t.Errorf("the machine has spent %g s, %v", all, err)
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine("cpu  100 20 30 99999 5 6 7 800 0 0\ncpu0 1 2 3\n")
	if err != nil || got != 1.63 {
		t.Errorf("parseMachine = %g, %v, want 1.63", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"} {
		if _, err := parseMachine(bad); err == nil {
			t.Errorf("parseMachine(%q): want an error", bad)
		}
	}
}

func TestHasListener(t *testing.T) {
	table := []byte("  sl  local_address rem_address   st tx_queue\n" +
		"   0: 00000000:3A6C 00000000:0000 0A 00000000:00000000\n" +
		"   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000\n")
	for port, want := range map[int]bool{14956: true, 8080: false, 50000: false} {
		if got := hasListener(table, port); got != want {
			t.Errorf("hasListener(%d) = %v, want %v", port, got, want)
		}
	}
}
