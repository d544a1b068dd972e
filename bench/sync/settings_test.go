package main

import (
	"io"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	s, err := readSettings([]string{"-files", "1000,5000", "-rounds", "3"}, io.Discard)
	if err != nil || len(s.Files) != 2 || s.Files[1] != 5000 || s.Rounds != 3 {
		t.Errorf("readSettings = %+v, %v", s, err)
	}
	_, err = readSettings([]string{"-files", "1000,ten", "-rounds", "0", "-branch", "7", "-trip", "-1s"}, io.Discard)
	if err == nil {
		t.Fatal("bad values are taken")
	}
	for _, want := range []string{`-files="ten"`, "-rounds=0", "-branch=7", "-trip=-1s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
