package proxy

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a poller reports of a descriptor. Both are edges: they say that
// something has changed, once.
const (
	canRead  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	canWrite = unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
	// hasHung says that the other end's stream has ended, or is broken.
	hasHung = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	// isBroken says that the connection was reset or has timed out.
	isBroken = unix.EPOLLERR
)

// maxEvents is how many events one call brings: more would only make those at
// its end wait.
const maxEvents = 128

type event = unix.EpollEvent

// poller waits for descriptors, by epoll.
type poller struct {
	epoll, bell int
	events      [maxEvents]event
}

func newPoller() (*poller, error) {
	p := &poller{}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("opening an epoll instance: %w", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		unix.Close(p.epoll)
		return nil, fmt.Errorf("opening an event descriptor: %w", err)
	}
	if err := p.add(p.bell, 0); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// add begins to report on fd, until fd is closed. The mark comes with each
// event: one that was on its way when fd was closed, and its number given to
// another, is told by it.
func (p *poller) add(fd int, mark int32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: mark}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("adding a descriptor to epoll: %w", err)
	}
	return nil
}

// wait returns the next events, at once where there are any.
func (p *poller) wait() ([]event, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), maxEvents, ^uintptr(0), 0, 0)
		switch errno {
		case 0:
			return p.events[:n], nil
		case unix.EINTR:
			continue
		}
		return nil, fmt.Errorf("waiting for connections: %w", errno)
	}
}

// glance returns the events that are there, without waiting.
func (p *poller) glance() []event {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), maxEvents, 0, 0, 0)
	if errno != 0 {
		return nil
	}
	return p.events[:n]
}

// ring ends a wait, from any goroutine.
func (p *poller) ring() {
	one := [8]byte{1}
	_, _ = unix.Write(p.bell, one[:]) // full is as good as rung
}

// silence makes the bell ready to ring again.
func (p *poller) silence() {
	var count [8]byte
	_, _ = unix.Read(p.bell, count[:])
}

func (p *poller) close() {
	unix.Close(p.bell)
	unix.Close(p.epoll)
}
