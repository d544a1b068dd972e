package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// checkTimeout bounds one attempt. A captured connection stays on the machine
// and is there in well under a millisecond, but a node that starts many pods at
// once can hold up a process for a second, and a lost SYN is sent again only
// after one and after three. One that is not captured goes to an address that
// never answers.
const checkTimeout = 5 * time.Second

// maxAttempts bounds the connections that are open at once while a probability
// is tried.
const maxAttempts = 500

// Check proves that p is applied by b and works: the kernel's rules are p's, and
// a real connection over IPv4 and one over IPv6, to an address that is nobody's,
// arrive at netra's outbound port. Where nothing listens there, Check does so
// itself for as long as it takes, and also compares the original destination
// that the kernel remembers. The error says what does not hold.
func Check(ctx context.Context, p Plan, b Backend) (Report, error) {
	by, skipped, err := compare(ctx, p, b)
	if err != nil {
		return Report{}, err
	}
	report := Report{By: by}
	port := p.Outbound.port()
	if port == 0 {
		for _, family := range families {
			report.Families = append(report.Families, FamilyReport{Family: family, Skipped: "no outbound connection is captured"})
		}
		return report, nil
	}
	arrivals, err := listen(port)
	if err != nil {
		return Report{}, err
	}
	defer arrivals.close()
	var faults []error
	for _, family := range families {
		if why := skipped[family]; why != "" {
			report.Families = append(report.Families, FamilyReport{Family: family, Skipped: why})
			continue
		}
		f, err := checkFamily(ctx, p.Outbound, family, arrivals)
		report.Families = append(report.Families, f)
		faults = append(faults, err)
	}
	return report, errors.Join(faults...)
}

// compare finds out which backend's rules are applied and compares them with p.
// It returns the backend, for people, and why the kernel can redirect nothing
// of a family.
func compare(ctx context.Context, p Plan, b Backend) (by string, skipped map[string]string, err error) {
	table, err := installedTable()
	var missing *missingError
	if err != nil && !errors.As(err, &missing) {
		return "", nil, err
	}
	holdings, err := iptablesHoldings(ctx)
	if err != nil {
		return "", nil, err
	}
	var found []string
	if table != nil {
		found = append(found, string(NFTables))
	}
	for _, h := range holdings {
		found = append(found, h.String())
	}
	switch {
	case len(found) == 0:
		return "", nil, errors.New("no redirection is applied: run netra-init first")
	case len(found) > 1:
		return "", nil, fmt.Errorf("the redirection is applied by %s at once: run netra-init again, which leaves one", strings.Join(found, " and "))
	case b != Auto && (b == NFTables) != (table != nil):
		return "", nil, fmt.Errorf("the redirection is applied by %s, not by %s: run netra-init again with the same setting", found[0], b)
	case table != nil:
		for _, c := range []Chain{p.Inbound, p.Outbound} {
			if diff := c.differs(table[c.Hook]); diff != "" {
				return "", nil, fmt.Errorf("comparing the %s rules: %s", c.Hook, diff)
			}
		}
	default:
		skipped, err = holdings[0].differs(ctx, p)
	}
	return found[0], skipped, err
}

func checkFamily(ctx context.Context, c Chain, family string, arrivals *arrivals) (FamilyReport, error) {
	report := FamilyReport{Family: family}
	dst, probability := c.target(family, uint32(os.Geteuid()))
	if probability == 0 {
		report.Skipped = fmt.Sprintf("no connection of user %d to a test address is captured", os.Geteuid())
		return report, nil
	}
	report.Destination = dst
	// Enough attempts that a working redirection fails the check once in a
	// million times.
	attempts := 1
	if probability < 1 {
		attempts = int(math.Ceil(math.Log(1e-6) / math.Log(1-probability)))
	}
	if attempts > maxAttempts {
		report.Skipped = fmt.Sprintf("a probability of %g would take %d connections", probability, attempts)
		return report, nil
	}
	err := arrivals.dialAny(ctx, dst, attempts)
	switch {
	case err == nil:
		report.Captured = true
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		report.Skipped, err = "there is no route to the outside", nil
	case attempts > 1:
		err = fmt.Errorf("connecting to %s: none of %d connections arrived at a probability of %g: %w", dst, attempts, probability, err)
	default:
		err = fmt.Errorf("connecting to %s: %w", dst, err)
	}
	return report, err
}

// arrivals tells which connections arrive at netra's port.
type arrivals struct {
	listener net.Listener // nil where netra itself listens

	mu       sync.Mutex
	original map[string]chan original // by the connecting side's address
}

type original struct {
	dst netip.AddrPort
	err error
}

var errOriginal = errors.New("the kernel does not know the connection's original destination")

// listen starts to listen on port, unless somebody does already.
func listen(port uint16) (*arrivals, error) {
	a := &arrivals{original: map[string]chan original{}}
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listening in netra's place: %w", err)
	}
	a.listener = l
	go a.accept()
	return a, nil
}

func (a *arrivals) close() {
	if a.listener != nil {
		a.listener.Close()
	}
}

func (a *arrivals) accept() {
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return
		}
		dst, err := originalDestination(conn.(*net.TCPConn))
		a.slot(conn.RemoteAddr().String()) <- original{dst, err}
		conn.Close()
	}
}

// slot returns the place where the two ends of a connection meet; either may
// come first.
func (a *arrivals) slot(client string) chan original {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.original[client] == nil {
		a.original[client] = make(chan original, 1)
	}
	return a.original[client]
}

// dialAny opens attempts connections to dst at once and returns nil where one
// was captured.
func (a *arrivals) dialAny(ctx context.Context, dst netip.AddrPort, attempts int) error {
	if attempts == 1 {
		return a.dial(ctx, dst)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, attempts)
	for range attempts {
		go func() { results <- a.dial(ctx, dst) }()
	}
	var last error
	for range attempts {
		if last = <-results; last == nil {
			return nil
		}
	}
	return last
}

// dial returns nil where a connection to dst was captured.
func (a *arrivals) dial(ctx context.Context, dst netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", dst.String())
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("not captured: nothing answered within %s", checkTimeout)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if a.listener == nil {
		return nil // nobody has this address, so it was netra who answered
	}
	select {
	case o := <-a.slot(conn.LocalAddr().String()):
		if o.err != nil {
			return fmt.Errorf("%w: %w", errOriginal, o.err)
		}
		if o.dst != dst {
			return fmt.Errorf("%w: it says %s", errOriginal, o.dst)
		}
		return nil
	case <-ctx.Done():
		return errors.New("not captured: somebody else answered")
	}
}

// soOriginalDst is SO_ORIGINAL_DST and, at level IPv6, IP6T_SO_ORIGINAL_DST.
const soOriginalDst = 80

// originalDestination returns where conn was going before it was redirected.
func originalDestination(conn *net.TCPConn) (netip.AddrPort, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	var dst netip.AddrPort
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		if local.Is4() || local.Is4In6() {
			// The answer is a sockaddr_in: family, port, address. This call
			// is the one at hand whose buffer is large enough.
			m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, soOriginalDst)
			if sockErr = err; err == nil {
				dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), binary.BigEndian.Uint16(m.Multiaddr[2:4]))
			}
			return
		}
		m, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, soOriginalDst)
		if sockErr = err; err == nil {
			port := (*[2]byte)(unsafe.Pointer(&m.Addr.Port)) // in network order
			dst = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), binary.BigEndian.Uint16(port[:]))
		}
	})
	return dst, errors.Join(err, sockErr)
}
