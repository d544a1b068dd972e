package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/formicarium/formicarium/bench/netra/bed"
)

// profileRate is that of the figure that a profile is to explain.
const profileRate = 3000

// profiles takes CPU profiles of netra, in no round: being profiled costs, too.
func (r *runner) profiles(ctx context.Context) error {
	if err := os.MkdirAll(r.profile, 0o755); err != nil {
		return fmt.Errorf("making the profiles' directory: %w", err)
	}
	for _, p := range []struct {
		file string
		rate int
	}{{"netra-3000rps.pprof", profileRate}, {"netra-closed.pprof", 0}} {
		file := filepath.Join(r.profile, p.file)
		if err := r.takeProfile(ctx, file, p.rate); err != nil {
			return fmt.Errorf("profiling netra: %w", err)
		}
		fmt.Fprintf(r.stderr, "CPU profile: %s; go tool pprof -top %s\n", file, file)
	}
	return nil
}

func (r *runner) takeProfile(ctx context.Context, file string, rate int) (err error) {
	b, err := bed.New(ctx, r.bed, profiled(r.bed.Dir))
	if err != nil {
		return err
	}
	defer b.Close()
	if err := r.warm(ctx, b); err != nil {
		return err
	}
	// The load begins before the profile and ends after it.
	load := make(chan error, 1)
	go func() {
		_, err := b.Measure(ctx, append(r.rateFlags(rate), "-warmup", (2*time.Second).String())...)
		load <- err
	}()
	if err := pause(ctx, time.Second); err != nil {
		return errors.Join(err, <-load)
	}
	url := fmt.Sprintf("http://127.0.0.1:%s/debug/pprof/profile?seconds=%d", pprofPort, int(math.Ceil(r.Duration.Seconds())))
	profile, err := b.PodGet(ctx, url)
	if loadErr := <-load; err == nil {
		err = loadErr
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, profile, 0o644); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	return nil
}
