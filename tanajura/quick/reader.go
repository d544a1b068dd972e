package quick

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	// maxReaders bounds the processes that stand ready: a devspace's developer
	// edits a few services in turn.
	maxReaders = 8
	// readerIdle is for how long one stands ready after its last push.
	readerIdle = 5 * time.Minute
	// readTimeout ends one that does not answer: a read takes well under 1 ms.
	readTimeout = 10 * time.Second
	// maxObject bounds one object: no larger directory is looked at.
	maxObject = maxTrees
)

// readers keeps a `git cat-file` ready for each repository that is pushed to,
// which reads what any git has put there, in whatever form. It ends with this
// process, whose end closes its input.
type readers struct {
	command Command
	mu      sync.Mutex
	byPath  map[string]*reader
}

func newReaders(command Command) *readers {
	return &readers{command: command, byPath: map[string]*reader{}}
}

// of returns the reader of the repository at path.
func (r *readers) of(path string) (*reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.byPath[path]; one != nil {
		one.idle.Reset(readerIdle)
		return one, nil
	}
	if len(r.byPath) >= maxReaders {
		return nil, fmt.Errorf("%w: %d repositories are being pushed to", ErrDoubt, len(r.byPath))
	}
	ctx, cancel := context.WithCancel(context.Background())
	one := &reader{cmd: r.command(ctx, "", "--no-replace-objects", "--git-dir="+path, "cat-file", "--batch"), cancel: cancel}
	if err := one.start(); err != nil {
		cancel()
		return nil, fmt.Errorf("%w: %w", ErrDoubt, err)
	}
	one.end = sync.OnceFunc(func() { r.drop(path, one) })
	one.idle = time.AfterFunc(readerIdle, one.end)
	r.byPath[path] = one
	return one, nil
}

// drop ends a reader.
func (r *readers) drop(path string, one *reader) {
	r.mu.Lock()
	if r.byPath[path] == one {
		delete(r.byPath, path)
	}
	r.mu.Unlock()
	one.idle.Stop()
	one.cancel()
	go func() { _ = one.cmd.Wait() }() // it was told to end
}

// reader is one `git cat-file --batch`.
type reader struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	idle   *time.Timer
	end    func()

	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
}

func (r *reader) start() error {
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	r.out = bufio.NewReader(out)
	return r.cmd.Start()
}

// object returns an object's content; ErrDoubt where it cannot. After an error
// the reader is of no use, and ends.
func (r *reader) object(id plumbing.Hash, kind plumbing.ObjectType) (content []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	watch := time.AfterFunc(readTimeout, r.cancel)
	defer watch.Stop()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: reading %s %s: %w", ErrDoubt, kind, id, err)
			r.end()
		}
	}()
	if _, err := io.WriteString(r.in, id.String()+"\n"); err != nil {
		return nil, err
	}
	head, err := r.out.ReadString('\n') // "ID KIND SIZE", or "ID missing"
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[1] != kind.String() {
		return nil, fmt.Errorf("git says %q", head)
	}
	size, err := strconv.Atoi(fields[2])
	if err != nil || size > maxObject {
		return nil, fmt.Errorf("git says %q", head)
	}
	content = make([]byte, size+1) // and a line's end
	if _, err := io.ReadFull(r.out, content); err != nil {
		return nil, err
	}
	return content[:size], nil
}
