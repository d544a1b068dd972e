// Probe is what the pods of the benchmark run. It is static, so that it runs in
// any image.
//
//	probe content -root /app        serves the directory's files on :8080
//	probe process                   is "the application": serves its own start on :8081
//	probe pair -root /app           both; the process is a child, started again when it ends
//
// Content is served by a process that no restart ends, so that a poll for it
// is not disturbed by one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/formicarium/formicarium/bench/sync/tree"
	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("probe", probe)) }

func probe(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("want content, process or pair")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", "/app", "the directory that is served")
	pidFile := flags.String("pid-file", "/tmp/process.pid", "where a pair writes its child's pid")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "content":
		return serve(ctx, ":8080", newContent(*root))
	case "process":
		return serve(ctx, ":8081", started(time.Now()))
	case "pair":
		go keep(ctx, *pidFile, stdout, stderr)
		return serve(ctx, ":8080", newContent(*root))
	}
	return fmt.Errorf("unknown command %q: want content, process or pair", args[0])
}

// serve serves until ctx ends, and then ends at once: how long a restart takes
// must not be the probe's own grace. The port may still be the predecessor's.
func serve(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	for {
		err := server.ListenAndServe()
		if ctx.Err() != nil {
			return nil
		}
		fmt.Fprintln(os.Stderr, err)
		time.Sleep(time.Millisecond)
	}
}

// keep keeps a process running.
func keep(ctx context.Context, pidFile string, stdout, stderr io.Writer) {
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, os.Args[0], "process")
		cmd.Stdout, cmd.Stderr = stdout, stderr
		err := cmd.Start()
		if err == nil {
			err = os.WriteFile(pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
		}
		if err != nil {
			fmt.Fprintln(stderr, "starting the process:", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		_ = cmd.Wait() // it is killed to be started anew
	}
}

// started answers when the process started, in nanoseconds since 1970, and its pid.
func started(at time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /start", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%d %d\n", at.UnixNano(), os.Getpid())
	})
	return mux
}

// content serves a directory.
type content struct {
	root string
	mu   sync.Mutex
	// wanted is what is still to come of the last list.
	wanted []tree.Want
}

// maxList bounds a list: 10,000 paths are about 1 MB.
const maxList = 64 << 20

func newContent(root string) http.Handler {
	c := &content{root: root}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /file", c.file)
	mux.HandleFunc("GET /sum", c.sum)
	mux.HandleFunc("POST /want", c.want)
	mux.HandleFunc("GET /want", c.left)
	return mux
}

func (c *content) file(w http.ResponseWriter, r *http.Request) {
	data, err := os.ReadFile(filepath.Join(c.root, r.FormValue("path")))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = w.Write(data)
}

// sum answers the hash over the whole directory, where it has the number of
// files that is asked for: reading 100,000 files takes a second.
func (c *content) sum(w http.ResponseWriter, r *http.Request) {
	if n := tree.Count(c.root); strconv.Itoa(n) != r.FormValue("files") {
		fmt.Fprintf(w, "%d files", n)
		return
	}
	sum, err := tree.Sum(c.root)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, sum)
}

// want takes a list of paths and what they are to hold.
func (c *content) want(w http.ResponseWriter, r *http.Request) {
	var wanted []tree.Want
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxList)).Decode(&wanted); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.wanted = wanted
	c.mu.Unlock()
	c.left(w, r)
}

// left answers how many of the list may not yet be what they are to be. It looks
// no further than the first that is not: to read thousands of files again with each
// poll would take a processor from what is measured.
func (c *content) left(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.wanted) > 0 && c.wanted[0].Met(c.root) {
		c.wanted = c.wanted[1:]
	}
	fmt.Fprint(w, len(c.wanted))
}
