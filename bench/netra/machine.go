package main

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine says what a run's figures depend on. What cannot be read is left out.
func machine() map[string]string {
	facts := map[string]string{
		"processors":   strconv.Itoa(runtime.NumCPU()),
		"processor":    field("/proc/cpuinfo", "model name"),
		"memory":       field("/proc/meminfo", "MemTotal"),
		"system":       strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`),
		"load average": whole("/proc/loadavg"),
		"conntrack":    whole("/proc/sys/net/netfilter/nf_conntrack_max"),
		"architecture": runtime.GOARCH,
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		facts["kernel"] = unix.ByteSliceToString(name.Release[:])
	}
	for k, v := range facts {
		if v == "" {
			delete(facts, k)
		}
	}
	return facts
}

func whole(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

// field returns the value of the first line "name: value" or "name=value".
func field(path, name string) string {
	for line := range strings.Lines(whole(path)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		if value, ok := strings.CutPrefix(rest, ":"); ok {
			return strings.TrimSpace(value)
		}
		if value, ok := strings.CutPrefix(rest, "="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// versions returns those of everything that is measured.
func versions(ctx context.Context, here []peer, tree string) map[string]string {
	v := map[string]string{"go": runtime.Version(), "netra": "devel"}
	if described, err := command(ctx, tree, "git", "describe", "--tags", "--always", "--dirty"); err == nil {
		v["netra"] = described
	}
	for _, p := range here {
		if p.program == "" {
			continue
		}
		if out, err := command(ctx, "", machineProgram(p.program), p.version); err == nil {
			v[p.name], _, _ = strings.Cut(out, "\n")
		}
	}
	return v
}
