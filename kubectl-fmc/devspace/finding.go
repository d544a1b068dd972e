package devspace

import (
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Level says how bad a finding is.
type Level string

// The levels of a Finding.
const (
	LevelOK   Level = "ok"
	LevelWarn Level = "warn" // it works, or could not be looked at
	LevelFail Level = "fail"
)

// Finding is what one look has shown.
type Finding struct {
	// Check names what was looked at, such as "certificate".
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Detail are further lines, such as the last ones of a log.
	Detail string `json:"detail,omitempty"`
	// WayOut is what can be done.
	WayOut string `json:"wayOut,omitempty"`
}

// Failed reports whether one of the findings is a failure.
func Failed(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == LevelFail })
}

func good(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelOK, Text: fmt.Sprintf(format, args...)}
}

func doubtful(check, wayOut, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelWarn, Text: fmt.Sprintf(format, args...), WayOut: wayOut}
}

func bad(check, wayOut, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelFail, Text: fmt.Sprintf(format, args...), WayOut: wayOut}
}

// unread is the finding for what could not be read: where rights are missing
// that is no fault of what was to be looked at.
func unread(check, what string, err error) Finding {
	if apierrors.IsForbidden(err) {
		return doubtful(check, "ask somebody with more rights to run kubectl fmc check", "not looked at: you may not read %s", what)
	}
	return bad(check, "", "reading %s: %v", what, err)
}
