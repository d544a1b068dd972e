package pull

import (
	"errors"
	"fmt"
	"syscall"
)

// nameLimit adds to an error of a full disk how large the disks are: whoever
// reads it sees only that of the laptop.
func (p *Puller) nameLimit(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return fmt.Errorf("%w (the volume of %s has %s in all, that of %s has %s in all): sync less, or give the pod a larger volume",
		err, p.root.Name(), diskSize(p.root.Name()), p.state.dir, diskSize(p.state.dir))
}

func diskSize(dir string) string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return "an unknown size"
	}
	size := float64(fs.Blocks) * float64(fs.Bsize) / (1 << 20)
	if size >= 1<<10 {
		return fmt.Sprintf("%.1f GiB", size/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", size)
}
