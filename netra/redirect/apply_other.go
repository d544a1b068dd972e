//go:build !linux

package redirect

import (
	"context"
	"errors"
)

var errLinux = errors.New("redirection is a matter of Linux's packet filter: run this on Linux")

// Apply fails: there is no packet filter that it knows.
func Apply(context.Context, Plan, Backend) (Applied, error) { return Applied{}, errLinux }

// Cleanup fails as Apply does.
func Cleanup(context.Context) error { return errLinux }

// Check fails as Apply does.
func Check(context.Context, Plan, Backend) (Report, error) { return Report{}, errLinux }
