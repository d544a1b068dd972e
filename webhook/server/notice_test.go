package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/webhook/notice"
)

const (
	owned    = `"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"no","uid":"0"},{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-1","uid":"1","controller":true}]`
	ownedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-1-","annotations":{"formicarium.io/inject":"VALUE"},` + owned + `},"spec":{HOST"containers":[{"name":"web","image":"web","command":["/web"]}]}}`
)

// What a pod's owner is told, by what the pod asks for and how.
func TestOwnersAreTold(t *testing.T) {
	var told []notice.Notice
	url, _ := newServer(t, func(o *Options) { o.Notify = func(n notice.Notice) { told = append(told, n) } })
	pod := func(value, host string) string {
		return strings.NewReplacer("VALUE", value, "HOST", host).Replace(ownedPod)
	}
	for _, c := range []struct {
		what, namespace, pod string
		kind, reason, note   string
	}{
		{"both", "elsewhere", pod("enabled", ""), "Normal", "Injected", "injected netra and stinger as service web-1"},
		{"one of two", "strict", pod("enabled", ""), "Warning", "InjectionSkipped", `netra not injected: `},
		{"none", "elsewhere", pod("netra", `"hostNetwork":true,`), "Warning", "InjectionSkipped", "netra not injected: "},
		{"a bad value", "elsewhere", pod("ture", ""), "Warning", "InjectionSkipped", `netra and stinger not injected: formicarium.io/inject="ture"`},
		{"nothing asked for", "elsewhere", strings.Replace(pod("x", ""), `"annotations":{"formicarium.io/inject":"x"},`, "", 1), "", "", ""},
		{"disabled", "shop", pod("disabled", ""), "", "", ""},
		{"no owner", "elsewhere", stingerPod, "", "", ""},
		{"an owner that is no controller", "elsewhere", strings.Replace(pod("enabled", ""), `"controller":true`, `"controller":false`, 1), "", "", ""},
	} {
		told = nil
		if r := review(t, url, c.namespace, c.pod); !r.Allowed {
			t.Errorf("%s: %+v", c.what, r.Result)
		}
		if c.note == "" {
			if len(told) != 0 {
				t.Errorf("%s: told %+v, want nothing", c.what, told)
			}
			continue
		}
		if len(told) != 1 {
			t.Errorf("%s: told %d times", c.what, len(told))
			continue
		}
		n := told[0]
		if n.Type != c.kind || n.Reason != c.reason || !strings.HasPrefix(n.Note, c.note) {
			t.Errorf("%s: told %s %s %q, want %s %s %q", c.what, n.Type, n.Reason, n.Note, c.kind, c.reason, c.note)
		}
		if o := n.Regarding; o.Kind != "ReplicaSet" || o.APIVersion != "apps/v1" || o.Name != "web-1" || o.UID != "1" || o.Namespace != c.namespace {
			t.Errorf("%s: told of %+v", c.what, o)
		}
	}
}

func TestDryRunTellsNobody(t *testing.T) {
	var told []notice.Notice
	url, _ := newServer(t, func(o *Options) { o.Notify = func(n notice.Notice) { told = append(told, n) } })
	pod := strings.NewReplacer("VALUE", "enabled", "HOST", "").Replace(ownedPod)
	body := reviewBody(t, "elsewhere", pod)
	if !strings.Contains(body, `"dryRun": false`) {
		t.Fatal("the review says nothing of a dry run")
	}
	post(t, url, "application/json", strings.NewReader(strings.Replace(body, `"dryRun": false`, `"dryRun": true`, 1)))
	if len(told) > 0 {
		t.Errorf("told %v", told)
	}
	post(t, url, "application/json", strings.NewReader(body))
	if !slices.ContainsFunc(told, func(n notice.Notice) bool { return n.Reason == notice.Injected }) {
		t.Errorf("without a dry run: told %v", told)
	}
}

func TestWhatGoesWrongWithANoticeCostsNoPod(t *testing.T) {
	url, log := newServer(t, func(o *Options) { o.Notify = func(notice.Notice) { panic("as asked for") } })
	pod := strings.NewReplacer("VALUE", "enabled", "HOST", "").Replace(ownedPod)
	if r := review(t, url, "elsewhere", pod); !r.Allowed || len(r.Patch) == 0 {
		t.Errorf("answer = %+v", r)
	}
	if !strings.Contains(log.String(), "as asked for") {
		t.Errorf("the log does not say so:\n%s", log)
	}
}
