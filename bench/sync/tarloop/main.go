// Tarloop is the benchmark's peer: the fastest that can be had without any
// check. It watches a directory with inotify and sends what changes as tar
// through one standing exec stream into a container, where a shell unpacks it and
// kills the process, which its parent starts again.
//
//	KUBECONFIG=… tarloop -namespace NAMESPACE -pod POD DIRECTORY
//
// It loses files: one that is written into a new directory before the watch on
// that is there is never seen, and nothing compares the two sides.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/formicarium/formicarium/bench/sync/stream"
	"github.com/formicarium/formicarium/internal/run"
)

// quiet is for how long nothing must have happened before a batch is sent, and
// hold how long a batch is held back at most.
const (
	quiet = 5 * time.Millisecond
	hold  = 100 * time.Millisecond
)

func main() { os.Exit(run.Main("tarloop", loop)) }

func loop(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	utilruntime.ErrorHandlers = nil // they tell of a stream's end, which is asked for
	flags := flag.NewFlagSet("tarloop", flag.ContinueOnError)
	flags.SetOutput(stderr)
	namespace := flags.String("namespace", "", "of the pod")
	pod := flags.String("pod", "", "to sync to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", getenv("KUBECONFIG"))
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	s := &syncer{dir: flags.Arg(0)}
	if s.watcher, err = fsnotify.NewWatcher(); err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	defer s.watcher.Close()
	in, input := io.Pipe()
	output, out := io.Pipe()
	s.shell, s.answers = input, bufio.NewReader(output)
	ended := make(chan error, 1)
	go func() {
		err := stream.Exec(ctx, config, *namespace, *pod, []string{"bash"}, in, out) // other shells read ahead, and so parts of archives
		in.CloseWithError(io.ErrClosedPipe)
		out.CloseWithError(io.EOF)
		ended <- err
	}()
	if err := s.first(); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "ready")
	go func() { ended <- s.run(ctx) }()
	return <-ended
}

// syncer is the laptop's end.
type syncer struct {
	dir     string
	watcher *fsnotify.Watcher
	shell   io.Writer
	answers *bufio.Reader
}

// first watches every directory and sends everything.
func (s *syncer) first() error {
	changed := map[string]bool{}
	if err := s.add(s.dir, changed); err != nil {
		return err
	}
	return s.send(changed)
}

// add watches what is below a directory and adds its files.
func (s *syncer) add(dir string, changed map[string]bool) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // it is gone again
		case entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		case entry.IsDir():
			return s.watcher.Add(path)
		}
		changed[path] = true
		return nil
	})
}

func (s *syncer) run(ctx context.Context) error {
	changed := map[string]bool{}
	var first time.Time
	timer := time.NewTimer(time.Hour)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.watcher.Errors:
			return fmt.Errorf("watching: %w", err)
		case event := <-s.watcher.Events:
			if event.Op == fsnotify.Chmod || strings.Contains(event.Name, "/.git/") {
				continue
			}
			if len(changed) == 0 {
				first = time.Now()
			}
			changed[event.Name] = true
			timer.Reset(min(quiet, max(0, hold-time.Since(first))))
		case <-timer.C:
			for path := range changed {
				if info, err := os.Lstat(path); err == nil && info.IsDir() {
					delete(changed, path)
					if err := s.add(path, changed); err != nil {
						return err
					}
				}
			}
			if err := s.send(changed); err != nil {
				return err
			}
			changed = map[string]bool{}
		}
	}
}

// send brings the paths into the container and waits until it says so.
func (s *syncer) send(changed map[string]bool) error {
	if len(changed) == 0 {
		return nil
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	var gone strings.Builder
	files := 0
	for path := range changed {
		name, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintf(&gone, " '%s'", strings.ReplaceAll(name, "'", `'\''`))
			continue
		}
		files++
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	var command bytes.Buffer
	if files > 0 {
		fmt.Fprintf(&command, "head -c %d | tar -xf - -C /app; ", archive.Len())
	}
	if gone.Len() > 0 {
		fmt.Fprintf(&command, "(cd /app && rm -rf --%s); ", gone.String())
	}
	command.WriteString("kill -9 $(cat /tmp/process.pid); echo done\n")
	if files > 0 {
		command.Write(archive.Bytes())
	}
	if _, err := s.shell.Write(command.Bytes()); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	_, err := s.answers.ReadString('\n')
	return err
}
