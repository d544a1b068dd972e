package bed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ticksPerSecond is USER_HZ, the unit of times in /proc: 100 on every
// architecture that Go runs on.
const ticksPerSecond = 100

// Memory is what a sidecar's processes hold together. A page that two of them
// share counts twice.
type Memory struct {
	RSS         int `json:"rss_kib"`
	Peak        int `json:"peak_kib"` // of the RSS, since it was last reset
	Threads     int `json:"threads"`
	Descriptors int `json:"descriptors"`
	Processes   int `json:"processes"`
}

// processes lists all process numbers.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// descendants returns a process and all that it has started.
func descendants(root int) []int {
	children := map[int][]int{}
	for _, pid := range processes() {
		if s, err := readStat(pid); err == nil {
			children[s.parent] = append(children[s.parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// stat is what is used of /proc/PID/stat.
type stat struct {
	parent int
	ticks  int // of processor time, user's and system's
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

// parseStat reads the line of a process. Its second field is the program's name
// in parentheses, which may hold anything, parentheses too.
func parseStat(line string) (stat, error) {
	_, rest, ok := cutLast(line, ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return stat{}, fmt.Errorf("parsing a process's stat %q: too few fields", line)
	}
	parent, err1 := strconv.Atoi(fields[1])
	user, err2 := strconv.Atoi(fields[11])
	system, err3 := strconv.Atoi(fields[12])
	return stat{parent, user + system}, errors.Join(err1, err2, err3)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// cpuSeconds returns the processor time of processes that live.
func cpuSeconds(pids []int) float64 {
	ticks := 0
	for _, pid := range pids {
		if s, err := readStat(pid); err == nil {
			ticks += s.ticks
		}
	}
	return float64(ticks) / ticksPerSecond
}

// memory returns what processes hold.
func memory(pids []int) (Memory, error) {
	var m Memory
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return m, fmt.Errorf("reading a sidecar's memory: %w", err)
		}
		if err := m.add(b); err != nil {
			return m, err
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return m, fmt.Errorf("counting a sidecar's descriptors: %w", err)
		}
		m.Descriptors += len(fds)
		m.Processes++
	}
	return m, nil
}

// add adds a process's status.
func (m *Memory) add(status []byte) error {
	targets := map[string]*int{"VmRSS": &m.RSS, "VmHWM": &m.Peak, "Threads": &m.Threads}
	seen := 0
	for line := range bytes.Lines(status) {
		name, value, _ := strings.Cut(string(line), ":")
		target := targets[name]
		if target == nil {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		if err != nil {
			return fmt.Errorf("parsing a process's status: %w", err)
		}
		*target += n
		seen++
	}
	if seen != len(targets) {
		return errors.New("parsing a process's status: want VmRSS, VmHWM and Threads; has it ended?")
	}
	return nil
}

// resetPeaks makes the kernel forget the highest RSS so far.
func resetPeaks(pids []int) error {
	for _, pid := range pids {
		// 5 is that request, see proc(5).
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return fmt.Errorf("resetting a sidecar's peak of memory: %w", err)
		}
	}
	return nil
}

// machineSeconds returns the processor time that the whole machine has spent.
func machineSeconds() (float64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the machine's load: %w", err)
	}
	return parseMachine(string(b))
}

// parseMachine adds up user, nice, system, irq and softirq; time that a
// hypervisor gave to others is none of this machine's.
func parseMachine(text string) (float64, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("parsing the machine's load %q: want a line of cpu", line)
	}
	ticks := 0
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			return 0, fmt.Errorf("parsing the machine's load: %w", err)
		}
		ticks += n
	}
	return float64(ticks) / ticksPerSecond, nil
}

// listens reports whether somebody in the process's namespace listens on a TCP
// port.
func listens(pid, port int) bool {
	return slices.ContainsFunc([]string{"tcp", "tcp6"}, func(table string) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		return err == nil && hasListener(b, port)
	})
}

// hasListener looks for a listening socket in a table of /proc/net.
func hasListener(table []byte, port int) bool {
	const stateListen = "0A"
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 3 && fields[3] == stateListen && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			return true
		}
	}
	return false
}
