package redirect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The IP versions, each of which has a nat table and programs of its own.
const (
	ipv4 = "IPv4"
	ipv6 = "IPv6"
)

var families = []string{ipv4, ipv6}

var restorePrograms = map[string]string{ipv4: "iptables-restore", ipv6: "ip6tables-restore"}

// The iptables backend's own chains, one for each hook, and the built-in chains
// that lead to them.
const (
	inboundChain  = "NETRA_INBOUND"
	outboundChain = "NETRA_OUTBOUND"
)

// multiportSlots is how many ports one multiport match takes; a range counts
// twice.
const multiportSlots = 15

// natTable is what is netra's of one family's nat table. Its rules are lines as
// iptables-save writes them, each beginning with "-A CHAIN".
type natTable struct {
	// chains are the own chains that exist, by name.
	chains map[string][]string
	// jumps are the rules of other chains that lead to own ones.
	jumps []string
}

// wantedTable is how p reads in the nat table of the family.
func wantedTable(p Plan, family string) natTable {
	// A connection that was open before passes the nat table, too, when
	// conntrack sees its next packet; it must not be redirected halfway. Only
	// the first packet of a connection is --syn.
	const first = "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
	return natTable{
		chains: map[string][]string{
			inboundChain:  p.Inbound.iptables(inboundChain, family),
			outboundChain: p.Outbound.iptables(outboundChain, family),
		},
		jumps: []string{
			"-A PREROUTING " + first + ` -m comment --comment "TCP into the pod" -j ` + inboundChain,
			"-A OUTPUT " + first + ` -m comment --comment "TCP out of the pod" -j ` + outboundChain,
		},
	}
}

// iptables returns the chain's rules that the family can match. Neighbours that
// differ in their ports alone become one rule.
func (c Chain) iptables(name, family string) []string {
	var lines []string
	for rules := c.Rules; len(rules) > 0; {
		n := together(rules)
		if net := rules[0].Net; !net.IsValid() || net.Addr().Is4() == (family == ipv4) {
			lines = append(lines, iptablesRule(name, c.Hook, rules[:n]))
		}
		rules = rules[n:]
	}
	return lines
}

// together returns how many of the first rules one iptables rule can stand for.
func together(rules []Rule) int {
	if rules[0].Ports == (PortRange{}) {
		return 1
	}
	slots := 0
	for i, r := range rules {
		like := rules[0]
		like.Ports = r.Ports
		slots++
		if r.Ports.First != r.Ports.Last {
			slots++
		}
		if r.Ports == (PortRange{}) || r != like || slots > multiportSlots {
			return i
		}
	}
	return len(rules)
}

// iptablesRule translates rules that differ in their ports alone, in the order
// of iptables-save. The comment is the rule's own words, as it is in nftables:
// people see it, and Check reads it back.
func iptablesRule(chain string, hook Hook, rules []Rule) string {
	r := rules[0]
	var b strings.Builder
	fmt.Fprintf(&b, "-A %s", chain)
	if r.Net.IsValid() {
		fmt.Fprintf(&b, " -d %s", r.Net.Masked())
	}
	if r.Loopback {
		flag := "-o"
		if hook == Prerouting {
			flag = "-i"
		}
		fmt.Fprintf(&b, " %s lo", flag)
	}
	b.WriteString(" -p tcp")
	if r.UID != nil {
		fmt.Fprintf(&b, " -m owner --uid-owner %d", *r.UID)
	}
	var ports, words []string
	if r.Ports != (PortRange{}) {
		for _, r := range rules {
			words = append(words, r.Ports.String())
			ports = append(ports, strings.Replace(r.Ports.String(), "-", ":", 1))
		}
		fmt.Fprintf(&b, " -m multiport --dports %s", strings.Join(ports, ","))
	}
	if r.Share != 0 {
		fmt.Fprintf(&b, " -m statistic --mode random --probability %.6f", float64(r.Share)/Million)
	}
	fmt.Fprintf(&b, " -m comment --comment %q", r.text(strings.Join(words, ",")))
	if r.Redirect == 0 {
		b.WriteString(" -j RETURN")
	} else {
		fmt.Fprintf(&b, " -j REDIRECT --to-ports %d", r.Redirect)
	}
	return b.String()
}

// change returns the input of `iptables-restore --noflush` that makes want of
// t, in one commit. Naming a chain there creates it or empties it; whatever is
// not netra's stays as it is, and so does a jump that is in place already.
func (t natTable) change(want natTable) string {
	named := map[string][]string{}
	maps.Copy(named, t.chains)
	maps.Copy(named, want.chains)
	names := slices.Sorted(maps.Keys(named))

	var b strings.Builder
	b.WriteString("*nat\n")
	for _, name := range names {
		fmt.Fprintf(&b, ":%s - [0:0]\n", name)
	}
	missing := slices.Clone(want.jumps)
	for _, jump := range t.jumps {
		i := slices.IndexFunc(missing, func(m string) bool { return words(m) == words(jump) })
		if i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		fmt.Fprintf(&b, "-D%s\n", strings.TrimPrefix(jump, "-A"))
	}
	for _, name := range names {
		for _, line := range want.chains[name] {
			fmt.Fprintln(&b, line)
		}
	}
	for _, jump := range missing {
		fmt.Fprintln(&b, jump)
	}
	for _, name := range names {
		if _, ok := want.chains[name]; !ok {
			fmt.Fprintf(&b, "-X %s\n", name)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// empty reports whether the table holds nothing of netra's.
func (t natTable) empty() bool { return len(t.chains) == 0 && len(t.jumps) == 0 }

// differs compares the table with the kernel's, rule by rule in their own
// words: the programs' versions do not agree on how they write the same match.
func (t natTable) differs(installed natTable) string {
	for _, name := range slices.Sorted(maps.Keys(t.chains)) {
		if diff := differs(allWords(t.chains[name]), allWords(installed.chains[name])); diff != "" {
			return fmt.Sprintf("comparing the rules of %s: %s", name, diff)
		}
	}
	if diff := differs(slices.Sorted(slices.Values(allWords(t.jumps))), slices.Sorted(slices.Values(allWords(installed.jumps)))); diff != "" {
		return fmt.Sprintf("comparing the rules that lead to %s and %s: %s", inboundChain, outboundChain, diff)
	}
	return ""
}

func allWords(lines []string) []string {
	list := make([]string, len(lines))
	for i, line := range lines {
		list[i] = words(line)
	}
	return list
}

// words returns a rule's comment, or the rule itself where it has none.
func words(line string) string {
	fields := splitRule(line)
	if i := slices.Index(fields, "--comment"); i >= 0 && i+1 < len(fields) {
		return fields[i+1]
	}
	return line
}

// parseSave returns what is netra's in the output of `iptables-save -t nat`.
func parseSave(text string) natTable {
	t := natTable{chains: map[string][]string{}}
	own := func(name string) bool { return name == inboundChain || name == outboundChain }
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		fields := splitRule(line)
		switch {
		case len(fields) < 2:
		case strings.HasPrefix(line, ":"):
			if name := fields[0][1:]; own(name) && t.chains[name] == nil {
				t.chains[name] = []string{}
			}
		case fields[0] != "-A":
		case own(fields[1]):
			t.chains[fields[1]] = append(t.chains[fields[1]], line)
		default:
			for i, f := range fields[:len(fields)-1] {
				if (f == "-j" || f == "-g") && own(fields[i+1]) {
					t.jumps = append(t.jumps, line)
				}
			}
		}
	}
	return t
}

// splitRule splits a line of iptables-save: words at spaces, where a word may
// stand in double quotes, and a backslash takes the next character as it is.
func splitRule(line string) []string {
	var fields []string
	var field strings.Builder
	quoted, escaped, begun := false, false, false
	for _, c := range line {
		switch {
		case escaped:
			field.WriteRune(c)
			escaped = false
		case c == '\\':
			escaped, begun = true, true
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				fields = append(fields, field.String())
			}
			field.Reset()
			begun = false
		default:
			field.WriteRune(c)
			begun = true
		}
	}
	if begun {
		fields = append(fields, field.String())
	}
	return fields
}
