package redirect

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// denySockets makes the kernel refuse the calling thread, and the programs that
// it starts, sockets of this family and protocol: what a kernel says that is
// built without them. It holds until the thread ends.
func denySockets(t *testing.T, family, protocol uint32, errno unix.Errno) {
	t.Helper()
	// Where the kernel's seccomp_data holds the call's number and the low
	// halves of its first and third argument, on a little-endian machine.
	const number, first, third = 0, 16, 32
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	answer := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	filter := []unix.SockFilter{
		load(number), unless(unix.SYS_SOCKET, 5),
		load(first), unless(family, 3),
		load(third), unless(protocol, 1),
		answer(unix.SECCOMP_RET_ERRNO | uint32(errno)),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Error(err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		t.Error(err)
	}
}

// withoutNFTables is denySockets as of a kernel without nf_tables.
func withoutNFTables(t *testing.T) {
	t.Helper()
	denySockets(t, unix.AF_NETLINK, unix.NETLINK_NETFILTER, unix.EPROTONOSUPPORT)
}

// withoutLegacy is denySockets as of a kernel without ip_tables, whose programs
// speak through a raw socket.
func withoutLegacy(t *testing.T, families ...uint32) {
	t.Helper()
	for _, family := range families {
		denySockets(t, family, unix.IPPROTO_RAW, unix.EPROTONOSUPPORT)
	}
}
