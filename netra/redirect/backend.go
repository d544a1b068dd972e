package redirect

// Backend is a way of putting a plan into the kernel.
type Backend string

const (
	// Auto is NFTables, and IPTables where the kernel lacks what that takes.
	Auto Backend = "auto"
	// NFTables speaks netlink with nf_tables, without any program.
	NFTables Backend = "nftables"
	// IPTables runs iptables-restore and ip6tables-restore.
	IPTables Backend = "iptables"
)

// Ruleset returns the exact rules of p as b's own programs read them, or
// nothing where b is not told by text. It asks nothing of the kernel: where
// rules of an earlier plan are in place, Apply also takes those out.
func (b Backend) Ruleset(p Plan) string {
	if b != IPTables {
		return ""
	}
	var text string
	for _, family := range families {
		text += "# " + restorePrograms[family] + " --noflush\n" + natTable{}.change(wantedTable(p, family))
	}
	return text
}

// Applied says how a plan got into the kernel.
type Applied struct {
	// By is the backend, for people: "nftables" or "iptables (legacy)".
	By string
	// Notes are what is less than planned, such as an IP version that the
	// kernel cannot redirect.
	Notes []string
}
