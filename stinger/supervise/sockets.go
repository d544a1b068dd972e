package supervise

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/formicarium/formicarium/internal/handover"
)

// VerbHandOver is what this program is called with between the fork and the
// process's own program: sd_listen_fds(3) wants the process's id in a variable,
// and nobody knows it before.
const VerbHandOver = "hand-over"

// backlog is how many connections may wait while nothing runs, if the kernel's
// net.core.somaxconn (4096) does not say less.
const backlog = 4096

// Sockets are those that are kept open for a process and given to each run of
// it, in the way of systemd's socket activation: file descriptors from 3 on,
// LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID. While one run has ended and the
// next has not begun, connections wait in the kernel. They are opened at the
// first start, so that nobody waits for what never ran.
type Sockets struct {
	bind string
	list []handover.Socket

	mu    sync.Mutex // guards what follows
	files []*os.File
}

// NewSockets returns sockets that are not open yet; bind is the address, ""
// all.
func NewSockets(bind string, list []handover.Socket) *Sockets {
	return &Sockets{bind: bind, list: list}
}

// open returns the sockets, as a process expects them that begins.
func (s *Sockets) open() ([]*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, socket := range s.list {
		if i == len(s.files) {
			file, err := listen(s.bind, socket.Port)
			if err != nil {
				return nil, fmt.Errorf("listening on port %d for the process: %w", socket.Port, err)
			}
			s.files = append(s.files, file)
		}
		fd := int(s.files[i].Fd())
		// The run before may have shut it down, and have made it one that does
		// not block: both are the socket's state, not the descriptor's.
		if err := errors.Join(unix.Listen(fd, backlog), unix.SetNonblock(fd, false)); err != nil {
			return nil, fmt.Errorf("listening on port %d for the process again: %w", socket.Port, err)
		}
	}
	return slices.Clone(s.files), nil
}

// close has new connections refused.
func (s *Sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.files {
		file.Close()
	}
	s.files = nil
}

// listen is not net.Listen, whose sockets do not block: most programs expect
// one that does.
func listen(bind string, port int) (*os.File, error) {
	address, err := resolve(bind)
	if err != nil {
		return nil, err
	}
	if address.Is4() {
		return bound(unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: address.As4()})
	}
	file, err := bound(unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: address.As16()})
	if bind == "" && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) { // there is no IPv6 here
		return bound(unix.AF_INET, &unix.SockaddrInet4{Port: port})
	}
	return file, err
}

// resolve returns the address; all of them, of both families, are IPv6's ::.
func resolve(bind string) (netip.Addr, error) {
	if bind == "" {
		return netip.IPv6Unspecified(), nil
	}
	address, err := net.ResolveIPAddr("ip", bind)
	if err != nil {
		return netip.Addr{}, err
	}
	ip, _ := netip.AddrFromSlice(address.IP)
	return ip.Unmap(), nil
}

func bound(family int, address unix.Sockaddr) (*os.File, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err == nil {
		err = unix.Bind(fd, address)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// command returns the command that is given the sockets.
func (s *Sockets) command(argv []string, dir string) (*exec.Cmd, error) {
	program := argv[0]
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	program, err := exec.LookPath(program) // now, as later nobody can be told
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	files, err := s.open()
	if err != nil {
		return nil, err
	}
	self := "/proc/self/exe" // the child's, which is still this program
	if runtime.GOOS != "linux" {
		if self, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("starting %s: %w", argv[0], err)
		}
	}
	var names []string
	for _, socket := range s.list {
		names = append(names, socket.Name)
	}
	cmd := command(append([]string{self, VerbHandOver, program}, argv...), dir)
	cmd.ExtraFiles = files
	cmd.Env = append(slices.DeleteFunc(cmd.Environ(), isListenVariable),
		"LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return cmd, nil
}

func isListenVariable(variable string) bool {
	return strings.HasPrefix(variable, "LISTEN_FDS=") || strings.HasPrefix(variable, "LISTEN_FDNAMES=") || strings.HasPrefix(variable, "LISTEN_PID=")
}

// HandOver puts the program in this process's place, and returns only where
// that fails. The arguments are the program's path and its own arguments, its
// name first.
func HandOver(args []string) error {
	if len(args) < 2 {
		return errors.New("handing sockets over: there is no program")
	}
	env := append(os.Environ(), "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	return fmt.Errorf("starting %s: %w", args[1], syscall.Exec(args[0], args[1:], env))
}

// commandIn is command, with the sockets that are kept open.
func (g *Group) commandIn(argv []string, dir string) (*exec.Cmd, error) {
	if g.opts.Sockets != nil {
		if s := g.opts.Sockets(); s != nil {
			return s.command(argv, dir)
		}
	}
	return command(argv, dir), nil
}

// Release closes the sockets that are kept open for the process: from now on
// connections are refused, until it is started again.
func (g *Group) Release() {
	if g.opts.Sockets != nil {
		if s := g.opts.Sockets(); s != nil {
			s.close()
		}
	}
}
