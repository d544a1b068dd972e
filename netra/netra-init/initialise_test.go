package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/run"
)

func initialiseWith(t *testing.T, vars map[string]string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := initialise(context.Background(), args, func(name string) string { return vars[name] }, &out, &out)
	return out.String(), err
}

func TestDryRunShowsEverySetting(t *testing.T) {
	out, err := initialiseWith(t, map[string]string{
		"INBOUND_INTERCEPT_PORTS": "80,8080", "OUTBOUND_INTERCEPT_PORTS": "*",
		"NETRA_EXCLUDE_INBOUND_PORTS": "9090", "NETRA_EXCLUDE_OUTBOUND_PORTS": "25", "NETRA_EXCLUDE_CIDRS": "10.0.0.0/8,fd00::/8",
		"NETRA_INBOUND_PROBABILITY": "0.5", "NETRA_OUTBOUND_PROBABILITY": "0.25",
		"NETRA_PORT": "4000", "NETRA_OUTBOUND_PORT": "4001", "NETRA_ADMIN_PORT": "4002", "NETRA_SIDECAR_USER_ID": "2000",
	}, "--dry-run")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"port 80: redirect to 4000", "port 8080: redirect to 4000", "any: redirect to 4001", "port 9090: leave", "port 25: leave",
		"to 10.0.0.0/8: leave", "to fd00::/8: leave", "500000 in 1000000", "750000 in 1000000", "port 4000-4002: leave", "uid 2000: leave",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("--dry-run lacks %q:\n%s", want, out)
		}
	}
}

// Where iptables is asked for, its programs' exact input is shown as well.
func TestDryRunShowsTheRulesOfIPTables(t *testing.T) {
	for backend, times := range map[string]int{"": 0, "auto": 0, "nftables": 0, "iptables": 2} {
		out, err := initialiseWith(t, map[string]string{"NETRA_REDIRECT_BACKEND": backend, "OUTBOUND_INTERCEPT_PORTS": "80"}, "--dry-run")
		if err != nil || !strings.Contains(out, "port 80: redirect to 14955") || strings.Count(out, "--dports 80 ") != times {
			t.Errorf("--dry-run with the backend %q: %v\n%s", backend, err, out)
		}
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	_, err := initialiseWith(t, map[string]string{
		"INBOUND_INTERCEPT_PORTS": "http", "NETRA_EXCLUDE_OUTBOUND_PORTS": "*", "NETRA_EXCLUDE_CIDRS": "10.0.0.0/33",
		"NETRA_INBOUND_PROBABILITY": "half", "NETRA_OUTBOUND_PROBABILITY": "-1", "NETRA_PORT": "14955", "NETRA_SIDECAR_USER_ID": "0",
		"NETRA_REDIRECT_BACKEND": "nft",
	})
	var exit *run.ExitError
	if !errors.As(err, &exit) || exit.Code != 2 {
		t.Fatalf("eight faults: %v, want exit code 2", err)
	}
	for _, want := range []string{
		`INBOUND_INTERCEPT_PORTS="http"`, `NETRA_EXCLUDE_OUTBOUND_PORTS="*"`, `NETRA_EXCLUDE_CIDRS="10.0.0.0/33"`,
		`NETRA_REDIRECT_BACKEND="nft": want one of auto, nftables, iptables`,
		`NETRA_INBOUND_PROBABILITY="half"`, `NETRA_OUTBOUND_PROBABILITY="-1"`, `NETRA_SIDECAR_USER_ID="0"`, `NETRA_OUTBOUND_PORT="": want a port other than NETRA_PORT's`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s:\n%v", want, err)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"--dry-run", "--check"}, {"apply"}, {"--no-such-flag"}} {
		_, err := initialiseWith(t, nil, args...)
		var exit *run.ExitError
		if !errors.As(err, &exit) || exit.Code != 2 {
			t.Errorf("%v: %v, want exit code 2", args, err)
		}
	}
	if out, err := initialiseWith(t, nil, "--help"); err != nil || !strings.Contains(out, "dry-run") {
		t.Errorf("--help: %v\n%s", err, out)
	}
	if out, err := initialiseWith(t, nil, "--version"); err != nil || !strings.Contains(out, "linux/") {
		t.Errorf("--version: %v\n%s", err, out)
	}
}
