package proxy

import (
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below go to the kernel without a word to Go's scheduler: the
// sockets are non-blocking, so none of them waits, and being asked about each
// costs more than many of them.

// readSocket reads what has arrived. It returns 0 at the end of the stream and
// unix.EAGAIN where nothing has arrived.
func readSocket(fd int, p []byte) (int, error) {
	return transfer(unix.SYS_READ, fd, p)
}

// writeSocket writes as much of p as there is room for; unix.EAGAIN where there
// is none.
func writeSocket(fd int, p []byte) (int, error) {
	return transfer(unix.SYS_WRITE, fd, p)
}

func transfer(call uintptr, fd int, p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// acceptSocket takes the next connection; unix.EAGAIN where there is none.
func acceptSocket(listener int) (fd int, from netip.AddrPort, err error) {
	fd, sa, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	return fd, addrPortOf(sa), nil
}

// localAddr returns the address of a socket's own end.
func localAddr(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPortOf(sa)
}

func addrPortOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		address := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && address.Is6() {
			address = address.WithZone(strconv.Itoa(int(sa.ZoneId)))
		}
		return netip.AddrPortFrom(address, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func sockaddrOf(a netip.AddrPort) (unix.Sockaddr, int) {
	if address := a.Addr().Unmap(); address.Is4() {
		return &unix.SockaddrInet4{Addr: address.As4(), Port: int(a.Port())}, unix.AF_INET
	}
	zone, _ := strconv.Atoi(a.Addr().Zone()) // a number, see originalDestination6
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: uint32(zone)}, unix.AF_INET6
}

// connectSocket begins to connect. The socket becomes writable when that is
// decided, and connectResult then says how. source may be the zero Addr.
func connectSocket(to netip.AddrPort, source netip.Addr) (fd int, err error) {
	sa, family := sockaddrOf(to)
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	tune(fd)
	if source.IsValid() {
		// The port is chosen by connect, which may take any that is free
		// towards this destination, and not by bind. Where the address cannot
		// be had, the kernel's choice is as good.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		from, _ := sockaddrOf(netip.AddrPortFrom(source, 0))
		_ = unix.Bind(fd, from)
	}
	for {
		switch err := unix.Connect(fd, sa); err {
		case nil, unix.EINPROGRESS:
			return fd, nil
		case unix.EINTR:
			continue
		default:
			unix.Close(fd)
			return -1, os.NewSyscallError("connect", err)
		}
	}
}

// connectResult returns how an attempt to connect ended.
func connectResult(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return os.NewSyscallError("connect", err)
}

// keepAliveIdle and keepAliveInterval, in seconds, are those of Go's net
// package: a peer that vanished is noticed within some two minutes.
const (
	keepAliveIdle     = 15
	keepAliveInterval = 15
)

// tune makes a socket pass bytes on at once and notice a peer that vanished.
func tune(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveIdle)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveInterval)
}

// endStream tells the other end that nothing follows.
func endStream(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }

// closeSocket closes a connection; with reset it is broken off.
func closeSocket(fd int, reset bool) {
	if reset {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(fd)
}

// unsentBytes returns how many written bytes the other end has not
// acknowledged, of those that it still may.
func unsentBytes(fd int) int {
	// After a reset the kernel goes on to count what was never acknowledged.
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.State == unix.BPF_TCP_CLOSE {
		return 0
	}
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// quietSocket reports whether nothing has arrived that is unread, neither bytes
// nor the end of the stream.
func quietSocket(fd int) bool {
	var one [1]byte
	_, _, err := unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == unix.EAGAIN
}

// maxFiles returns how many descriptors this process may have.
func maxFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<30))
}
