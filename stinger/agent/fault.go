package agent

// faultKind is what an error was about. An error stays in the status until
// something of its own kind goes well: a restart does not answer a failed
// build, nor a build a hub that could not be reached. Why a process could not
// be started is the Group's to tell.
type faultKind int

const (
	faultPull faultKind = iota
	faultBuild
	faultStop
	faultReload
	faultKinds
)

// note records what became of something of a kind; nil is that it went well.
func (a *Agent) note(kind faultKind, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults[kind] = ""
	if err != nil {
		a.faults[kind] = err.Error()
	}
}

// log logs an error where there is one.
func (a *Agent) log(err error) {
	if err != nil {
		a.opts.Log.Error(err.Error())
	}
}
