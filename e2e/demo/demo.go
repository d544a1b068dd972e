package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/formicarium/formicarium/e2e/harness"
)

const (
	devspace = "demo"
	// orderPath is what the demo asks of front; it passes all three services.
	orderPath = "/?order=42"
	// answerLimit bounds the wait for an answer, which a step takes moments
	// for; a machine that builds at the same time takes longer.
	answerLimit = time.Minute
)

// show is the state of one demo.
type show struct {
	*harness.Harness
	out     io.Writer
	shop    string // the copy of examples/shop that the demo edits
	summary []string
}

type step struct {
	title string
	do    func(context.Context) error
}

func demo(ctx context.Context, args []string, _ func(string) string, stdout, _ io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("%q: the demo takes no arguments", args)
	}
	h, err := harness.Open(ctx, harness.Options{Out: stdout})
	if err != nil {
		return err
	}
	d := &show{Harness: h, out: stdout}
	begun := time.Now()
	steps := []step{
		{"Copy the example, so that the demo can edit it", d.copyShop},
		{"Install Formicarium", d.install},
		{"Make a devspace", d.devspace},
		{"Deploy three services from their directories", d.deploy},
		{"Send requests", d.request},
		{"Edit a source file and see it run", d.edit},
		{"Find the trace of one request", d.trace},
		{"Read the live graph", d.graph},
		{"Look at the whole", d.status},
	}
	for i, s := range steps {
		fmt.Fprintf(stdout, "\n=== %d/%d %s\n", i+1, len(steps), s.title)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, strings.ToLower(s.title), err)
		}
	}
	d.say("%d of %d steps checked in %s", len(steps), len(steps), time.Since(begun).Round(time.Second))
	d.end()
	return nil
}

// say adds a line to the summary.
func (d *show) say(format string, args ...any) {
	d.summary = append(d.summary, fmt.Sprintf(format, args...))
}

func (d *show) copyShop(context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("finding the cache directory: %w", err)
	}
	d.shop = filepath.Join(cache, "formicarium", "demo", "shop")
	if err := os.RemoveAll(d.shop); err != nil {
		return fmt.Errorf("clearing the last demo's copy: %w", err)
	}
	if err := os.CopyFS(d.shop, os.DirFS(filepath.Join(d.Root, "examples", "shop"))); err != nil {
		return fmt.Errorf("copying examples/shop: %w", err)
	}
	fmt.Fprintln(d.out, d.shop)
	return nil
}

func (d *show) install(ctx context.Context) error {
	begun := time.Now()
	if _, err := d.FMC(ctx, d.InstallArgs()...); err != nil {
		return err
	}
	d.say("installed in %s", time.Since(begun).Round(100*time.Millisecond))
	return nil
}

func (d *show) devspace(ctx context.Context) error {
	// Where the last demo left it, this brings it to the present version.
	_, err := d.FMC(ctx, "devspace", "create", devspace)
	return err
}

func (d *show) deploy(ctx context.Context) error {
	begun := time.Now()
	for _, service := range []string{"stock", "orders", "front"} {
		if _, err := d.FMC(ctx, "deploy", service, "-f", filepath.Join(d.shop, "fmc.yaml"), filepath.Join(d.shop, service)); err != nil {
			return err
		}
	}
	d.say("three services deployed from their directories in %s, no image built", time.Since(begun).Round(100*time.Millisecond))
	return nil
}

func (d *show) ask(ctx context.Context) (harness.Answer, error) {
	return d.Get(ctx, devspace, "front", 8080, orderPath)
}

func (d *show) request(ctx context.Context) error {
	answer, _, err := d.Until(ctx, answerLimit, d.ask, func(a harness.Answer) bool {
		return a.Status == 200 && strings.Contains(a.Body, "thank you for your order") && strings.Contains(a.Body, `"left":7`)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "GET front%s → %s", orderPath, answer.Body)
	for range 9 {
		if answer, err = d.ask(ctx); err != nil {
			return err
		}
		if answer.Status != 200 {
			return fmt.Errorf("asking front: it answered %d %q", answer.Status, answer.Body)
		}
	}
	d.say("10 requests answered across front (Node.js), orders (Python), stock (Go)")
	return nil
}

// edit changes the greeting of orders under a running sync and measures from
// the save to the first new answer.
func (d *show) edit(ctx context.Context) (err error) {
	sync, err := d.Start(ctx, "sync", "orders", filepath.Join(d.shop, "orders"), "-n", devspace)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sync.Stop()) }()
	waiting, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if _, err := sync.WaitLine(waiting, "in sync", " → "); err != nil {
		return err
	}
	file := filepath.Join(d.shop, "orders", "app.py")
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	var took []string
	for _, greeting := range []string{"edited while it runs", "edited once more", "and a third time"} {
		lines := strings.SplitAfter(string(text), "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "GREETING = ") {
				lines[i] = fmt.Sprintf("GREETING = %q\n", greeting)
			}
		}
		fmt.Fprintf(d.out, "saving app.py with GREETING = %q\n", greeting)
		saved := time.Now()
		if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644); err != nil {
			return fmt.Errorf("saving the source: %w", err)
		}
		answer, seen, err := d.Until(ctx, answerLimit, d.ask, func(a harness.Answer) bool {
			return a.Status == 200 && strings.Contains(a.Body, greeting)
		})
		if err != nil {
			return err
		}
		took = append(took, seen.Sub(saved).Round(time.Millisecond).String())
		fmt.Fprintf(d.out, "new answer after %s: %s", took[len(took)-1], answer.Body)
	}
	d.say("save → new answer through all three services: %s (the Python process starts anew each time)", strings.Join(took, ", "))
	return nil
}

func (d *show) trace(ctx context.Context) error {
	// A request that was cut off by a restart makes the next seconds' requests
	// ambiguous, and the last step has just restarted a service.
	var trace harness.Trace
	var err error
	for deadline := time.Now().Add(answerLimit); ; {
		since := time.Now()
		if _, err := d.ask(ctx); err != nil {
			return err
		}
		if trace, err = d.WaitTrace(ctx, devspace, since, 3*time.Second, "front", "orders", "stock"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return err
		}
	}
	out, err := d.FMC(ctx, "trace", trace.ID, "-n", devspace)
	if err != nil {
		return err
	}
	for _, service := range []string{"front", "orders", "stock"} {
		if !strings.Contains(out, service) {
			return fmt.Errorf("the trace as shown lacks %s:\n%s", service, out)
		}
	}
	links := map[string]int{}
	for _, s := range trace.Spans {
		if s.Link != "" {
			links[s.Link]++
		}
	}
	d.say("one trace, %d spans across front, orders and stock; no service forwards a header (joined: %v)", len(trace.Spans), links)
	return nil
}

func (d *show) graph(ctx context.Context) error {
	before, err := d.Graph(ctx, devspace)
	if err != nil {
		return err
	}
	if _, err := d.ask(ctx); err != nil {
		return err
	}
	edges, err := d.Graph(ctx, devspace)
	if err != nil {
		return err
	}
	var shown []string
	for _, edge := range []harness.Edge{{From: "front", To: "orders"}, {From: "orders", To: "stock"}} {
		if edges[edge] != before[edge]+1 {
			return fmt.Errorf("the graph counts %.0f requests from %s to %s after one more than %.0f", edges[edge], edge.From, edge.To, before[edge])
		}
		shown = append(shown, fmt.Sprintf("%s → %s (%.0f)", edge.From, edge.To, edges[edge]))
	}
	d.say("live graph: %s", strings.Join(shown, ", "))
	_, err = d.FMC(ctx, "graph", "-n", devspace)
	return err
}

func (d *show) status(ctx context.Context) error {
	_, err := d.FMC(ctx, "status", "-n", devspace)
	return err
}

func (d *show) end() {
	fmt.Fprintf(d.out, "\n=== Summary\n")
	for _, line := range d.summary {
		fmt.Fprintf(d.out, "  ✓ %s\n", line)
	}
	fmt.Fprintf(d.out, "\nGo on:\n\n%s\nkubectl fmc status\nkubectl fmc sync orders %s/orders     # then edit app.py\nkubectl fmc graph\nkubectl fmc trace\n\n`make cluster-down` stops the cluster and leaves nothing.\n", d.Shell(), d.shop)
}
