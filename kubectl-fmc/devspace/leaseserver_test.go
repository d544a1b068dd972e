package devspace

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

// leaseServer is an API server that has Leases only, with the optimistic
// locking and the watches that matter to them; the fake clientset has neither.
type leaseServer struct {
	*httptest.Server
	mu       sync.Mutex
	changed  *sync.Cond
	leases   map[string]*coordinationv1.Lease
	deleted  map[string]*coordinationv1.Lease
	version  int
	status   int // what every request is answered with; 0 serves
	writes   int
	watching bool // whether watches are served
	watchers int  // that were sent the lease
}

func newLeaseServer(t *testing.T) *leaseServer {
	s := &leaseServer{leases: map[string]*coordinationv1.Lease{}, deleted: map[string]*coordinationv1.Lease{}, watching: true}
	s.changed = sync.NewCond(&s.mu)
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.set(func() { s.watching = false })
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// set changes the server's state.
func (s *leaseServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

func (s *leaseServer) get(name string) coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.leases[name]; l != nil {
		return *l.DeepCopy()
	}
	return coordinationv1.Lease{}
}

// client is the clientset of a real cluster, for this server's Leases, over the
// fake one's other objects.
func (s *leaseServer) client(t *testing.T, over kubernetes.Interface) kubernetes.Interface {
	t.Helper()
	real, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, QPS: 1000, Burst: 1000, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return leaseClient{over, real}
}

type leaseClient struct {
	kubernetes.Interface
	real kubernetes.Interface
}

func (c leaseClient) CoordinationV1() coordination.CoordinationV1Interface {
	return c.real.CoordinationV1()
}

func (s *leaseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") != "" {
		s.watch(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != 0 {
		fail(w, s.status, "the server says no")
		return
	}
	name := path.Base(r.URL.Path)
	var body coordinationv1.Lease
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		name = body.Name
	}
	old := s.leases[name]
	switch {
	case r.Method == http.MethodGet && name == "leases":
		list := coordinationv1.LeaseList{}
		for _, l := range s.leases {
			list.Items = append(list.Items, *l)
		}
		reply(w, list)
		return
	case r.Method == http.MethodPost && old != nil:
		fail(w, http.StatusConflict, "AlreadyExists")
	case r.Method != http.MethodPost && old == nil:
		fail(w, http.StatusNotFound, "NotFound")
	case r.Method == http.MethodPut && body.ResourceVersion != old.ResourceVersion:
		fail(w, http.StatusConflict, "Conflict")
	case r.Method == http.MethodDelete:
		s.version++
		gone := old.DeepCopy()
		gone.ResourceVersion = strconv.Itoa(s.version)
		s.deleted[name] = gone
		delete(s.leases, name)
		s.changed.Broadcast()
		reply(w, old)
	case r.Method == http.MethodGet:
		reply(w, old)
	default:
		s.version++
		s.writes++
		body.ResourceVersion = strconv.Itoa(s.version)
		s.leases[name] = &body
		s.changed.Broadcast()
		reply(w, &body)
	}
}

// watches is how many have begun.
func (s *leaseServer) watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watchers
}

// watch sends the lease that the field selector names, now, with each change, and
// when it is deleted.
func (s *leaseServer) watch(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	w.Header().Set("Content-Type", "application/json")
	sent := ""
	next := func() (kind string, lease *coordinationv1.Lease) {
		if lease := s.leases[name]; lease != nil {
			return "MODIFIED", lease
		}
		if sent != "" {
			return "DELETED", s.deleted[name]
		}
		return "", nil
	}
	for {
		s.mu.Lock()
		kind, lease := next()
		for s.watching && s.status == 0 && (lease == nil || lease.ResourceVersion == sent) {
			s.changed.Wait()
			kind, lease = next()
		}
		if !s.watching || s.status != 0 {
			s.mu.Unlock()
			return
		}
		if sent == "" {
			s.watchers++
		}
		sent = lease.ResourceVersion
		text, _ := json.Marshal(lease)
		s.mu.Unlock()
		if _, err := fmt.Fprintf(w, `{"type":"%s","object":%s}`+"\n", kind, text); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
}

func reply(w http.ResponseWriter, body any) {
	switch b := body.(type) {
	case *coordinationv1.Lease:
		b.APIVersion, b.Kind = "coordination.k8s.io/v1", "Lease"
	case coordinationv1.LeaseList:
		b.APIVersion, b.Kind = "coordination.k8s.io/v1", "LeaseList"
		body = b
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	reasons := map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 409: metav1.StatusReasonConflict}
	s := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(status), Message: reason, Reason: reasons[status]}
	if reason == "AlreadyExists" {
		s.Reason = metav1.StatusReasonAlreadyExists
	}
	json.NewEncoder(w).Encode(s)
}
