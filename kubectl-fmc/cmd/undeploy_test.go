package cmd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
)

func TestDistinct(t *testing.T) {
	if got := distinct([]string{"b", "a", "b"}); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("distinct = %v", got)
	}
}

// Of a whole file what is not deployed is told of; any other fault stays one.
func TestNotDeployedApart(t *testing.T) {
	var out strings.Builder
	none, other := &devspace.NotDeployedError{Devspace: "mine", Service: "stock"}, errors.New("somebody else's")
	if err := notDeployedApart(errors.Join(none), &out); err != nil || out.String() != "stock is not deployed\n" {
		t.Errorf("apart = %v, printed %q", err, &out)
	}
	if err := notDeployedApart(errors.Join(none, other), &out); !errors.Is(err, other) || errors.Is(err, none) {
		t.Errorf("apart = %v, want %v alone", err, other)
	}
	if err := notDeployedApart(nil, &out); err != nil {
		t.Errorf("apart = %v", err)
	}
}

// What is asked names all that is lost.
func TestUndeployQuestion(t *testing.T) {
	got := undeployQuestion("mine", []*devspace.Undeployment{
		{Service: "orders", SyncedBy: &devspace.SyncHolder{Holder: "ana@laptop"}, Caches: []string{"orders-cache"}}, {Service: "stock"},
	})
	want := "ana@laptop syncs orders, which ends. The cache of orders goes too (--keep-cache keeps it). Remove orders, stock from devspace mine?"
	if got != want {
		t.Errorf("question = %q, want %q", got, want)
	}
}
