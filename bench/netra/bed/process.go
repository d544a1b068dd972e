package bed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// process is a program that runs in a namespace.
type process struct {
	name  string
	pid   int
	log   string
	ended chan struct{}
	err   error // after ended
}

// start starts a program. It is in a process group of its own, so that ^C
// reaches the benchmark alone, which then takes everything down in order.
func (n *namespace) start(dir, name string, command, env []string, uid uint32) (*process, error) {
	log := filepath.Join(dir, name+".log")
	file, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("creating %s's log: %w", name, err)
	}
	defer file.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = attributes(uid)
	if err := n.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, pid: cmd.Process.Pid, log: log, ended: make(chan struct{})}
	go func() {
		if p.err = cmd.Wait(); p.err == nil {
			p.err = errors.New("exit status 0")
		}
		close(p.ended)
	}()
	return p, nil
}

// attributes of a process that ends with this one.
func attributes(uid uint32) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if uid != 0 {
		a.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	return a
}

// maxTail is how much of a log is shown.
const maxTail = 2000

// tail returns the end of what the program has printed.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-maxTail):])
}
