package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tableName is the table's name; nothing else may use it, since applying
// begins with deleting it.
const tableName = "netra"

// socketBuffer holds the kernel's answers to one transaction: about 400 bytes
// for each rule, so that settings with some thousand single ports still fit.
const socketBuffer = 4 << 20

func table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}
}

// open returns a connection to the packet filter of the calling thread's
// network namespace.
func open() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		// Larger buffers are a help and no need: the usual plan fits without.
		_ = c.SetReadBuffer(socketBuffer)
		_ = c.SetWriteBuffer(socketBuffer)
		return nil
	}))
}

// emptyTable begins a transaction in which the table is there and empty.
func emptyTable(conn *nftables.Conn) *nftables.Table {
	t := table()
	// Deleting a table that is not there is an error; adding one that is there
	// is not. So: add, delete, add.
	conn.AddTable(t)
	conn.DelTable(t)
	conn.AddTable(t)
	return t
}

// replaceTable makes p the table's rules, in one transaction: where an error is
// returned nothing has changed.
func replaceTable(p Plan) error {
	conn, err := open()
	if err != nil {
		return fmt.Errorf("opening nf_tables: %w", explain(err))
	}
	t := emptyTable(conn)
	for _, c := range []Chain{p.Inbound, p.Outbound} {
		addChain(conn, t, c)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("applying the redirection: %w", explain(err))
	}
	return nil
}

// holdTable puts p's rules where no packet comes to them, and chains for NAT
// beside them. The kernel drops the translation of open connections together
// with the last rule and the last chain that translate; so these have to be
// there before another backend's go.
func holdTable(p Plan) error {
	conn, err := open()
	if err != nil {
		return fmt.Errorf("opening nf_tables: %w", explain(err))
	}
	t := emptyTable(conn)
	for _, c := range []Chain{p.Inbound, p.Outbound} {
		addChain(conn, t, Chain{Hook: c.Hook})
		addRules(conn, t, conn.AddChain(&nftables.Chain{Table: t, Name: "held-" + string(c.Hook)}), c)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("trying the redirection: %w", explain(err))
	}
	return nil
}

// deleteTable removes the table. Where there is none, or a kernel that can have
// none, it does nothing.
func deleteTable() error {
	err := func() error {
		conn, err := open()
		if err != nil {
			return err
		}
		conn.AddTable(table())
		conn.DelTable(table())
		return conn.Flush()
	}()
	var missing *missingError
	if err = explain(err); err == nil || errors.As(err, &missing) {
		return nil
	}
	return fmt.Errorf("removing the redirection: %w", err)
}

// hooks are how nftables names a Hook; both chains run where destination NAT
// does.
var hooks = map[Hook]*nftables.ChainHook{
	Prerouting: nftables.ChainHookPrerouting,
	Output:     nftables.ChainHookOutput,
}

func addChain(conn *nftables.Conn, t *nftables.Table, c Chain) {
	accept := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{
		Table: t, Name: string(c.Hook), Type: nftables.ChainTypeNAT,
		Hooknum: hooks[c.Hook], Priority: nftables.ChainPriorityNATDest, Policy: &accept,
	})
	addRules(conn, t, chain, c)
}

func addRules(conn *nftables.Conn, t *nftables.Table, chain *nftables.Chain, c Chain) {
	for _, r := range c.Rules {
		conn.AddRule(&nftables.Rule{
			Table: t, Chain: chain, Exprs: expressions(c.Hook, r),
			// The rule's own words: `nft list table inet netra` shows them,
			// and Check reads them back.
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.String()),
		})
	}
}

// reg is the register that every rule computes in, one value at a time.
const reg = 1

// expressions translates one rule. Multi-byte values are compared in network
// order, those of the kernel's own (user ids) in the machine's.
func expressions(hook Hook, r Rule) []expr.Any {
	list := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		equal(unix.IPPROTO_TCP),
	}
	if r.UID != nil {
		list = append(list,
			&expr.Meta{Key: expr.MetaKeySKUID, Register: reg},
			equal(binary.NativeEndian.AppendUint32(nil, *r.UID)...))
	}
	if r.Loopback {
		key := expr.MetaKeyOIFNAME
		if hook == Prerouting {
			key = expr.MetaKeyIIFNAME
		}
		list = append(list,
			&expr.Meta{Key: key, Register: reg},
			equal(append([]byte("lo"), make([]byte, unix.IFNAMSIZ-len("lo"))...)...))
	}
	if r.Net.IsValid() {
		list = append(list, destination(r)...)
	}
	if r.Ports != (PortRange{}) {
		list = append(list, destinationPort(r.Ports)...)
	}
	if r.Share != 0 {
		list = append(list,
			&expr.Numgen{Register: reg, Type: unix.NFT_NG_RANDOM, Modulus: Million},
			&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: reg, Data: binary.BigEndian.AppendUint32(nil, r.Share)})
	}
	if r.Redirect == 0 {
		return append(list, &expr.Verdict{Kind: expr.VerdictReturn})
	}
	// Conntrack takes a connection that was open before for a new one when it
	// sees its next packet, and would redirect it halfway. Only the first
	// packet of a connection has SYN alone of these flags.
	const flagsOffset, flagsThatCount, syn = 13, 0x17, 0x02 // FIN, SYN, RST, ACK
	return append(list,
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: flagsOffset, Len: 1},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{flagsThatCount}, Xor: []byte{0}},
		equal(syn),
		&expr.Immediate{Register: reg, Data: binary.BigEndian.AppendUint16(nil, r.Redirect)},
		&expr.Redir{RegisterProtoMin: reg, RegisterProtoMax: reg, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED})
}

// destinationPort compares the second 16-bit word of TCP's header.
func destinationPort(ports PortRange) []expr.Any {
	load := &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	first := binary.BigEndian.AppendUint16(nil, ports.First)
	if ports.First == ports.Last {
		return []expr.Any{load, equal(first...)}
	}
	last := binary.BigEndian.AppendUint16(nil, ports.Last)
	return []expr.Any{
		load,
		&expr.Cmp{Op: expr.CmpOpGte, Register: reg, Data: first},
		&expr.Cmp{Op: expr.CmpOpLte, Register: reg, Data: last},
	}
}

// destination compares the destination address with the rule's network. In an
// inet table the family has to be asked for first.
func destination(r Rule) []expr.Any {
	family, offset, size := byte(unix.NFPROTO_IPV4), uint32(16), 4
	if r.Net.Addr().Is6() {
		family, offset, size = unix.NFPROTO_IPV6, 24, 16
	}
	mask := make([]byte, size)
	for i := range r.Net.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
		equal(family),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(size)},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		equal(r.Net.Masked().Addr().AsSlice()...),
	}
}

func equal(data ...byte) *expr.Cmp {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}
}

// missingError is the packet filter's error where the kernel lacks a feature.
type missingError struct {
	err     error
	feature string
}

func (e *missingError) Error() string {
	return fmt.Sprintf("%v (missing in the node's kernel: %s)", e.err, e.feature)
}

func (e *missingError) Unwrap() error { return e.err }

// explain adds what is missing on this machine to an error of the packet
// filter's.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (this needs the capability NET_ADMIN: add it to the container's securityContext.capabilities)", err)
	case errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT):
		return &missingError{err, "netfilter netlink (CONFIG_NF_TABLES, module nf_tables)"}
	}
	if feature, _ := probe(try); feature != "" {
		return &missingError{err, feature}
	}
	return err
}

// probe returns which feature of the packet filter is the first that the
// kernel refuses, and its error. It asks in the order in which they build on
// each other; attempt makes a scratch table with what add puts in and takes it
// out again.
func probe(attempt func(add func(*nftables.Conn, *nftables.Table)) error) (missing string, err error) {
	nat := func(rules ...Rule) func(*nftables.Conn, *nftables.Table) {
		return func(conn *nftables.Conn, t *nftables.Table) { addChain(conn, t, Chain{Hook: Output, Rules: rules}) }
	}
	for _, step := range []struct {
		feature string
		add     func(*nftables.Conn, *nftables.Table)
	}{
		{"nf_tables (CONFIG_NF_TABLES, module nf_tables)", func(*nftables.Conn, *nftables.Table) {}},
		{"NAT for IPv4 and IPv6 in one table (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, module nft_chain_nat, Linux 5.2 or later)", nat()},
		{"redirection (CONFIG_NFT_REDIR, module nft_redir)", nat(Rule{Redirect: 1})},
		{"random numbers in rules (CONFIG_NFT_NUMGEN, module nft_numgen), needed for probabilities between 0 and 1", nat(Rule{Share: 1})},
	} {
		if err := attempt(step.add); err != nil {
			return step.feature, err
		}
	}
	return "", nil
}

func try(add func(*nftables.Conn, *nftables.Table)) error {
	conn, err := open()
	if err != nil {
		return err
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName + "-probe"}
	conn.AddTable(t)
	add(conn, t)
	conn.DelTable(t)
	return conn.Flush()
}

// installedTable returns what the table holds, as the lines of a plan's rules
// for each hook, or nil where there is none.
func installedTable() (map[Hook][]string, error) {
	conn, err := open()
	if err != nil {
		return nil, fmt.Errorf("opening nf_tables: %w", explain(err))
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("listing the packet filter's chains: %w", explain(err))
	}
	var rules map[Hook][]string
	for _, c := range chains {
		if c.Table.Name != tableName {
			continue
		}
		list, err := conn.GetRules(c.Table, c)
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			return nil, fmt.Errorf("listing the rules of %s: %w", c.Name, err)
		}
		if rules == nil {
			rules = map[Hook][]string{}
		}
		lines := []string{}
		for _, r := range list {
			text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			lines = append(lines, text)
		}
		rules[Hook(c.Name)] = lines
	}
	return rules, nil
}
