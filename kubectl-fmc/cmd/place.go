package cmd

import "fmt"

// place says for people which cluster a verb works in: the context, which may
// be another than the one they have in mind, and the server behind it.
func (a *app) place() (string, error) {
	context, host, err := a.contextAndHost()
	if err != nil {
		return "", err
	}
	if context == "" { // a server by --server, or the pod's own
		return host, nil
	}
	return fmt.Sprintf("context %s, %s", context, host), nil
}

// announce says where the verb works, before it changes anything there.
func (a *app) announce(doing string) error {
	where, err := a.place()
	if err == nil {
		fmt.Fprintf(a.ErrOut, "%s (%s)\n", doing, where)
	}
	return err
}
