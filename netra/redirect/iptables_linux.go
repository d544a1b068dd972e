package redirect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// lockSeconds is how long iptables waits for another program that changes
// rules at the same time; such changes take milliseconds.
const lockSeconds = "60"

// maxChanges bounds how often a table is changed again because another program
// came between reading it and changing it.
const maxChanges = 5

// The two kinds of iptables: they have the same language and speak to
// different parts of the kernel, so each sees its own rules only.
const (
	kindLegacy   = "legacy"
	kindNFTables = "nf_tables"
)

// programNames are how distributions name the programs, legacy first: where
// nf_tables is missing only that kind works.
var programNames = []string{"%s-legacy-%s", "%s-%s", "%s-nft-%s"}

// variant is one kind of iptables that is in PATH.
type variant struct {
	kind string
	// save and restore are the programs' paths, by family.
	save, restore map[string]string
}

func (v variant) String() string { return fmt.Sprintf("iptables (%s)", v.kind) }

// findVariants returns each kind of iptables in PATH once. Programs that do not
// even say their version are as good as none.
func findVariants(ctx context.Context) (found []variant) {
	for _, name := range programNames {
		v := variant{save: map[string]string{}, restore: map[string]string{}}
		var missing error
		for family, base := range map[string]string{ipv4: "iptables", ipv6: "ip6tables"} {
			for verb, paths := range map[string]map[string]string{"save": v.save, "restore": v.restore} {
				path, err := exec.LookPath(fmt.Sprintf(name, base, verb))
				missing = errors.Join(missing, err)
				paths[family] = path
			}
		}
		if missing != nil {
			continue
		}
		version, err := exec.CommandContext(ctx, v.restore[ipv4], "--version").Output()
		if err != nil {
			continue
		}
		v.kind = kindLegacy
		if strings.Contains(string(version), kindNFTables) {
			v.kind = kindNFTables
		}
		if !slices.ContainsFunc(found, func(f variant) bool { return f.kind == v.kind }) {
			found = append(found, v)
		}
	}
	return found
}

// tableExists reports whether the kernel has a nat table of the variant's kind
// already. Reading such a table would make it, and it costs every packet.
func (v variant) tableExists(family string) bool {
	if v.kind == kindLegacy {
		names, _ := os.ReadFile(map[string]string{ // absent without the module
			ipv4: "/proc/thread-self/net/ip_tables_names",
			ipv6: "/proc/thread-self/net/ip6_tables_names",
		}[family])
		return slices.Contains(strings.Fields(string(names)), "nat")
	}
	conn, err := open()
	if err != nil {
		return false // no nf_tables, so no rules in it
	}
	tables, err := conn.ListTablesOfFamily(map[string]nftables.TableFamily{
		ipv4: nftables.TableFamilyIPv4, ipv6: nftables.TableFamilyIPv6,
	}[family])
	return err == nil && slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == "nat" })
}

// inspect is read for a table that may not be there.
func (v variant) inspect(ctx context.Context, family string) (natTable, error) {
	if !v.tableExists(family) {
		return natTable{}, nil
	}
	return v.read(ctx, family)
}

// read returns what the family's nat table has of netra's. Its error is also
// how to find out that the kernel does not know the variant or the family.
func (v variant) read(ctx context.Context, family string) (natTable, error) {
	out, err := v.run(ctx, "", v.save[family], "-t", "nat")
	if err != nil {
		return natTable{}, err
	}
	return parseSave(out), nil
}

// settle makes want of the family's table, which holds have.
func (v variant) settle(ctx context.Context, family string, have, want natTable) error {
	for range maxChanges {
		_, failed := v.run(ctx, have.change(want), v.restore[family], "--noflush", "-w", lockSeconds)
		before := have
		var err error
		if have, err = v.read(ctx, family); err != nil {
			return errors.Join(failed, err)
		}
		switch {
		case failed == nil && want.differs(have) == "" && len(have.chains) == len(want.chains):
			return nil
		case failed != nil && reflect.DeepEqual(before, have):
			return failed
		}
	}
	return fmt.Errorf("changing the nat table of %s: another program keeps changing %s and %s: let one alone write them",
		family, inboundChain, outboundChain)
}

// remove takes out what the variant holds of netra's.
func (v variant) remove(ctx context.Context) error {
	var faults []error
	for _, family := range families {
		have, err := v.inspect(ctx, family)
		if err == nil && !have.empty() {
			err = v.settle(ctx, family, have, natTable{})
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// apply makes p the variant's rules. Where removeOthers is not nil it takes
// out rules of other kinds, once it is known that the kernel takes the new
// ones. Without IPv6 in the kernel a note says so.
func (v variant) apply(ctx context.Context, p Plan, removeOthers func() error) (notes []string, err error) {
	earlier, notes, err := v.readAll(ctx)
	if err != nil {
		return nil, err
	}
	have := earlier
	if removeOthers != nil {
		if err := v.hold(ctx, p, have); err != nil {
			return nil, err
		}
		if err := removeOthers(); err != nil {
			return nil, errors.Join(err, v.restoreTables(ctx, earlier))
		}
		if have, notes, err = v.readAll(ctx); err != nil {
			return nil, err
		}
	}
	return notes, v.settleAll(ctx, have, func(family string) natTable { return wantedTable(p, family) })
}

// readAll reads the table of each family that the kernel knows.
func (v variant) readAll(ctx context.Context) (tables map[string]natTable, notes []string, err error) {
	tables = map[string]natTable{}
	for _, family := range families {
		table, err := v.read(ctx, family)
		switch {
		case err == nil:
			tables[family] = table
		case family == ipv6 && len(tables) > 0:
			notes = append(notes, fmt.Sprintf("IPv6 is not redirected, since the kernel has no nat table for it: %v", err))
		default:
			return nil, nil, err
		}
	}
	return tables, notes, nil
}

// hold puts p's rules where no packet comes to them, and the built-in chains
// beside them. The kernel drops the translation of open connections together
// with the last rule and the last chain that translate; so these have to be
// there before the other kinds' go.
func (v variant) hold(ctx context.Context, p Plan, have map[string]natTable) error {
	err := v.settleAll(ctx, have, func(family string) natTable {
		return natTable{chains: wantedTable(p, family).chains}
	})
	if v.kind == kindLegacy || err != nil {
		return err // of the kind legacy, built-in chains are always there
	}
	for family := range have {
		_, err := v.run(ctx, "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", v.restore[family], "--noflush", "-w", lockSeconds)
		if err != nil {
			return errors.Join(err, v.restoreTables(ctx, have))
		}
	}
	return nil
}

// settleAll settles every family of have. They are a commit each; where the
// second one fails, the first is taken back.
func (v variant) settleAll(ctx context.Context, have map[string]natTable, want func(family string) natTable) error {
	done := map[string]natTable{}
	for _, family := range families {
		before, ok := have[family]
		if !ok {
			continue
		}
		if err := v.settle(ctx, family, before, want(family)); err != nil {
			return errors.Join(err, v.restoreTables(ctx, done))
		}
		done[family] = before
	}
	return nil
}

// restoreTables gives the families of earlier those rules again.
func (v variant) restoreTables(ctx context.Context, earlier map[string]natTable) error {
	var faults []error
	for family, table := range earlier {
		now, err := v.read(ctx, family)
		if err == nil {
			err = v.settle(ctx, family, now, table)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// run runs one of the programs and returns what it prints.
func (v variant) run(ctx context.Context, stdin, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), v.lockFile()...)
	if err := cmd.Run(); err != nil {
		said := strings.Join(strings.Fields(stderr.String()), " ")
		err = fmt.Errorf("running %s %s: %w: %s", path, strings.Join(args, " "), err, said)
		if strings.Contains(said, "Permission denied") || strings.Contains(said, "Operation not permitted") {
			err = fmt.Errorf("%w (iptables needs the capability NET_ADMIN and, of the kind legacy, NET_RAW: add both to the container's securityContext.capabilities)", err)
		}
		return "", err
	}
	return stdout.String(), nil
}

// lockFile names the file that programs of the kind legacy lock against each
// other where they cannot make their own: with a read-only root, which nobody
// else writes rules from, any file serves.
func (v variant) lockFile() []string {
	const usual, variable = "/run/xtables.lock", "XTABLES_LOCKFILE"
	if v.kind != kindLegacy || os.Getenv(variable) != "" {
		return nil
	}
	file, err := os.OpenFile(usual, os.O_RDONLY|os.O_CREATE, 0o600)
	if err == nil {
		file.Close()
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{variable + "=" + self}
}

// iptablesHolding is what a variant holds of netra's.
type iptablesHolding struct {
	variant
	tables map[string]natTable
}

// iptablesHoldings returns the variants that hold rules of netra's. Without
// programs there are none to see: whoever applied them has the programs.
func iptablesHoldings(ctx context.Context) ([]iptablesHolding, error) {
	var found []iptablesHolding
	for _, v := range findVariants(ctx) {
		tables := map[string]natTable{}
		for _, family := range families {
			table, err := v.inspect(ctx, family)
			if err != nil {
				return nil, fmt.Errorf("looking for rules of %s: %w", v, err)
			}
			if !table.empty() {
				tables[family] = table
			}
		}
		if len(tables) > 0 {
			found = append(found, iptablesHolding{v, tables})
		}
	}
	return found, nil
}

// differs compares what is held with p. A family that the kernel cannot
// redirect is not compared; skipped says why.
func (h iptablesHolding) differs(ctx context.Context, p Plan) (skipped map[string]string, err error) {
	skipped = map[string]string{}
	var faults []error
	for _, family := range families {
		if _, ok := h.tables[family]; !ok {
			if _, err := h.read(ctx, family); err != nil {
				skipped[family] = "the kernel has no nat table for it"
				continue
			}
		}
		if diff := wantedTable(p, family).differs(h.tables[family]); diff != "" {
			faults = append(faults, fmt.Errorf("%s: %s", family, diff))
		}
	}
	return skipped, errors.Join(faults...)
}
