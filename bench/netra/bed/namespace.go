package bed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace, with a thread of this process in it.
// Sockets and processes that this thread makes belong to the namespace.
type namespace struct {
	name  string
	calls chan func()
}

// namesDir is where iproute2 keeps named namespaces.
const namesDir = "/run/netns"

func newNamespace(name string) (*namespace, error) {
	if err := ip("netns", "add", name); err != nil {
		return nil, err
	}
	n := &namespace{name, make(chan func())}
	entered := make(chan error)
	go n.serve(entered)
	if err := <-entered; err != nil {
		return nil, errors.Join(err, ip("netns", "del", name))
	}
	return n, nil
}

// serve runs calls on a thread in the namespace. The thread lives as long as the
// namespace: what it has started is killed by the kernel when it ends, and so
// when this process does, however that comes.
func (n *namespace) serve(entered chan<- error) {
	runtime.LockOSThread() // never unlocked: nobody else is to get this thread
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		entered <- fmt.Errorf("opening this thread's namespace: %w", err)
		return
	}
	defer home.Close()
	there, err := os.Open(filepath.Join(namesDir, n.name))
	if err == nil {
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
		there.Close()
	}
	if err != nil {
		entered <- fmt.Errorf("entering the namespace %s: %w", n.name, err)
		return
	}
	entered <- nil
	for call := range n.calls {
		call()
	}
	// The process's first thread does not end with its goroutine, and would keep
	// the namespace.
	_ = unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
}

// do runs f in the namespace.
func (n *namespace) do(f func() error) error {
	done := make(chan error, 1)
	n.calls <- func() { done <- f() }
	return <-done
}

func (n *namespace) dial(address string) (conn net.Conn, err error) {
	err = n.do(func() (err error) {
		conn, err = net.DialTimeout("tcp4", address, startTimeout)
		return err
	})
	return conn, err
}

func (n *namespace) sysctl(name, value string) error {
	err := n.do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("setting %s in %s: %w", name, n.name, err)
	}
	return nil
}

// remove ends the namespace's processes and removes it.
func (n *namespace) remove() error {
	err := removeNamed(n.name)
	close(n.calls)
	return err
}

// RemoveLeftovers removes what a run that was killed has left: namespaces whose
// names begin so, and the processes in them. It returns what it found.
func RemoveLeftovers(prefix string) ([]string, error) {
	entries, err := os.ReadDir(namesDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for leftovers: %w", err)
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix+"-") {
			found = append(found, e.Name())
			err = errors.Join(err, removeNamed(e.Name()))
		}
	}
	return found, err
}

// removeNamed kills every process in a namespace and removes it. A process of
// another namespace is never touched.
func removeNamed(name string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pids, err := members(name)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("ending the processes of %s: %v are still there", name, pids)
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		}
	}
	return ip("netns", "del", name)
}

// members returns the processes in a namespace, this one left out.
func members(name string) ([]int, error) {
	var there, here unix.Stat_t
	if err := unix.Stat(filepath.Join(namesDir, name), &there); err != nil {
		return nil, fmt.Errorf("looking at the namespace %s: %w", name, err)
	}
	var pids []int
	for _, pid := range processes() {
		// One that has ended, and waits for its parent, has no namespace.
		err := unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/net", &here)
		if err == nil && here.Dev == there.Dev && here.Ino == there.Ino && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func ip(args ...string) error { return output(exec.Command("ip", args...)) }

// output runs a command whose output matters only if it fails.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
