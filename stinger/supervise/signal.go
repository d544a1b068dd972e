package supervise

import "golang.org/x/sys/unix"

// SignalNamed sends the signal of this name, without SIG, as Signal does. A
// name that this system does not know is none of package reload's.
func (g *Group) SignalNamed(name string) { g.Signal(unix.SignalNum("SIG" + name)) }
