package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// quiet is how many processors' time all else on the machine may take in a load
// that counts, the same as with bench/netra.
const quiet = 0.15

// usage is the processor time that the whole machine and this benchmark have
// used.
type usage struct {
	at            time.Time
	machine, ours time.Duration
}

func (p *process) usage() (usage, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return usage{}, err
	}
	machine, err := parseStat(string(text))
	if err != nil {
		return usage{}, fmt.Errorf("parsing /proc/stat: %w", err)
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return usage{}, err
	}
	return usage{time.Now(), machine, time.Duration(self.Utime.Nano()+self.Stime.Nano()) + p.processor()}, nil
}

// parseStat returns the time that processors were busy, of the first line of
// /proc/stat: all but idle and waiting for disks, in hundredths of a second.
// What guests take is in the others already.
func parseStat(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("the first line is %q", line)
	}
	var ticks int64
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 {
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / 100, nil
}

// others returns how many processors all else has taken since.
func (u usage) others(before usage) float64 {
	return max(0, float64((u.machine-before.machine)-(u.ours-before.ours))/float64(u.at.Sub(before.at)))
}

// await waits until all else on the machine is quiet, but not for ever.
func (p *process) await(ctx context.Context, patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before, err := p.usage()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		after, err := p.usage()
		if err != nil {
			return err
		}
		if after.others(before) < quiet {
			return nil
		}
	}
	return nil
}
