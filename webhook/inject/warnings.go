package inject

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/formicarium/formicarium/internal/api"
)

// The API server cuts warnings of more than 256 characters once they have 4,096
// in all, and drops those beyond.
const (
	maxWarning  = 256
	maxWarnings = 16
	// maxSlips is how many annotations are warned of one by one, so that they
	// leave room for the rest.
	maxSlips = 8
)

// warn adds a warning.
func (in *injection) warn(format string, args ...any) {
	in.result.Warnings = append(in.result.Warnings, cut(oneLine(fmt.Sprintf(format, args...)), maxWarning))
}

// slip is warn for an annotation that is left out.
func (in *injection) slip(format string, args ...any) {
	in.slips++
	if in.slips <= maxSlips {
		in.warn(format, args...)
	}
}

// tellSlips says how many annotations were left out beside those warned of.
func (in *injection) tellSlips() {
	if n := in.slips - maxSlips; n > 0 {
		in.warn("and %d more annotations of %s have no effect", n, api.Domain)
	}
}

// bounded returns the warnings, or as many as will be shown.
func bounded(warnings []string) []string {
	n := len(warnings) - maxWarnings
	if n <= 0 {
		return warnings
	}
	return append(warnings[:maxWarnings-1:maxWarnings-1], fmt.Sprintf("and %d more warnings", n+1))
}

// oneLine makes a text fit for a header, which is how warnings travel.
func oneLine(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return ' '
		}
		return c
	}, text)
}

// cut returns as much of the text as fits into that many bytes.
func cut(text string, bytes int) string {
	const mark = "…"
	if len(text) <= bytes {
		return text
	}
	end := bytes - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// short cuts a value that goes into a warning.
func short(value string) string {
	const limit = 48
	runes := []rune(value)
	if len(runes) <= limit {
		return value
	}
	return string(runes[:limit]) + "…"
}
