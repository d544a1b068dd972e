package pull

import "slices"

// maxChanges is how many changed paths a pull tells: twice the largest branch
// switch of the benchmarks. Who changes more has changed everything.
const maxChanges = 10_000

// changes are the paths that a pull wrote or removed.
type changes struct {
	count int
	paths []string
	// unknown is whether more may have changed than the paths tell: they are
	// too many, or a change before this one was not recorded to its end.
	unknown bool
}

// changes returns what will be otherwise when the plan, as far as it is
// staged, has been carried out.
func (a *applier) changes(p plan) changes {
	c := changes{count: len(a.staged) + len(p.removes) + len(p.replaced)}
	if c.unknown = c.count > maxChanges; c.unknown {
		return c
	}
	c.paths = make([]string, 0, c.count)
	for _, s := range a.staged {
		c.paths = append(c.paths, s.path)
	}
	c.paths = slices.Concat(c.paths, p.removes, p.replaced)
	return c
}
