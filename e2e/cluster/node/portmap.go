package node

import (
	"context"
	"slices"
	"strings"
)

// The CNI plugin portmap keeps host ports in chains of iptables' nat tables
// whose names cannot be chosen, and never removes those that all pods share.

// nat is one of those tables.
type nat struct {
	program string // that changes it
	table   string // as nftables names it
}

func natTables() []nat {
	all := []nat{{"iptables", "ip nat"}}
	if podSubnet6() != "" {
		all = append(all, nat{"ip6tables", "ip6 nat"})
	}
	return all
}

// isPortmapChain tells whether the chain is that plugin's.
func isPortmapChain(chain string) bool {
	return strings.HasPrefix(chain, "CNI-HOSTPORT-") || strings.HasPrefix(chain, "CNI-DN-")
}

// allPortMappings lists those of both tables, each after its program's name.
func allPortMappings(ctx context.Context) ([]string, error) {
	var all []string
	for _, n := range natTables() {
		rules, err := portMappings(ctx, n.program)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			all = append(all, n.program+" "+r)
		}
	}
	return all, nil
}

// portMappings lists the rules and chains of that plugin as arguments of the
// program that add them, in the form of `iptables --list-rules`.
func portMappings(ctx context.Context, program string) ([]string, error) {
	out, err := output(ctx, program, "--table", "nat", "--list-rules")
	if err != nil {
		return nil, err
	}
	var rules []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		for field := range strings.FieldsSeq(line) {
			if isPortmapChain(field) {
				rules = append(rules, line)
				break
			}
		}
	}
	return rules, nil
}

// removePortMappings removes them all, unless there were some before the node
// started: then they, or some of them, are another's.
func (b before) removePortMappings(ctx context.Context) error {
	if b.Sysctls == nil || b.HadPortMappings {
		return nil
	}
	for _, n := range natTables() {
		if err := removeRules(ctx, n.program); err != nil {
			return err
		}
		if err := b.removeEmptyTable(ctx, n.program, n.table); err != nil {
			return err
		}
	}
	return nil
}

// removeRules removes the plugin's rules, then its chains: a chain goes only
// when nothing jumps to it.
func removeRules(ctx context.Context, program string) error {
	rules, err := portMappings(ctx, program)
	if err != nil {
		return err
	}
	for _, kind := range []struct{ added, remove string }{{"-A ", "-D"}, {"-N ", "-X"}} {
		for _, rule := range rules {
			rest, ok := strings.CutPrefix(rule, kind.added)
			if !ok {
				continue
			}
			args := append([]string{program, "--table", "nat", kind.remove}, splitRule(rest)...)
			if _, err := output(ctx, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeEmptyTable removes the table where it was not there before and nobody
// has put a rule into it.
func (b before) removeEmptyTable(ctx context.Context, program, table string) error {
	have, err := tables(ctx)
	if err != nil || !slices.Contains(have, table) || slices.Contains(b.Tables, table) {
		return err
	}
	rules, err := output(ctx, program, "--table", "nat", "--list-rules")
	if err != nil || strings.Contains(rules, "-A ") || strings.Contains(rules, "-N ") {
		return err
	}
	_, err = output(ctx, append([]string{"nft", "delete", "table"}, strings.Fields(table)...)...)
	return err
}

// splitRule splits a listed rule into arguments; a comment with spaces stands
// in quotes, within which a backslash keeps the next character.
func splitRule(rule string) []string {
	var args []string
	var arg strings.Builder
	quoted, escaped, some := false, false, false
	for _, r := range rule {
		switch {
		case escaped:
			arg.WriteRune(r)
			escaped = false
		case r == '\\' && quoted:
			escaped = true
		case r == '"':
			quoted, some = !quoted, true
		case r == ' ' && !quoted:
			if some {
				args = append(args, arg.String())
			}
			arg.Reset()
			some = false
		default:
			arg.WriteRune(r)
			some = true
		}
	}
	if some {
		args = append(args, arg.String())
	}
	return args
}
