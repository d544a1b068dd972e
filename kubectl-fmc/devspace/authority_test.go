package devspace

import (
	"bytes"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/manifests"
)

// creator is a Client with which a devspace can be created, since its hub is
// ready; hubs returns what was applied as the hub.
func creator(t *testing.T, objects ...runtime.Object) (client *Client, hubs func() []*appsv1.Deployment) {
	t.Helper()
	client = fakeClient(t, nil, append(append(deployment(api.HubName, 1), installed(), reviewer()), objects...)...)
	if err := client.Kube.CoreV1().ConfigMaps("mine").Delete(t.Context(), api.AuthorityName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	dynamic, ok := client.Dynamic.(*dynamicfake.FakeDynamicClient)
	if !ok {
		t.Fatal("the fake client is another")
	}
	var applied []*appsv1.Deployment
	dynamic.PrependReactor("patch", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
		if patch, ok := action.(k8stesting.PatchAction); ok && action.GetResource().Resource == "deployments" {
			var d appsv1.Deployment
			object, err := decodeObject(patch.GetPatch())
			if err == nil {
				err = runtime.DefaultUnstructuredConverter.FromUnstructured(object, &d)
			}
			if err != nil {
				t.Error(err)
			}
			applied = append(applied, &d)
		}
		return true, &unstructured.Unstructured{}, nil
	})
	return client, func() []*appsv1.Deployment { return applied }
}

func decodeObject(text []byte) (map[string]any, error) {
	object := &unstructured.Unstructured{}
	err := object.UnmarshalJSON(text)
	return object.Object, err
}

func reviewer() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: manifests.TokenReviewerName}}
}

func create(t *testing.T, client *Client) error {
	t.Helper()
	return client.CreateDevspace(t.Context(), CreateConfig{Name: "mine", CPU: "1", Memory: "1Gi", Pods: 2, HubStorage: "1Gi", HubMemory: "1Gi"}, &bytes.Buffer{})
}

func TestCreateKeepsTheAuthority(t *testing.T) {
	client, hubs := creator(t)
	if err := create(t, client); err != nil {
		t.Fatal(err)
	}
	secrets, maps := client.Kube.CoreV1().Secrets("mine"), client.Kube.CoreV1().ConfigMaps("mine")
	secret, err := secrets.Get(t.Context(), api.AuthorityName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := identity.ParseAuthority(secret.Data[api.AuthorityCertificate], secret.Data[api.AuthorityKey])
	if err != nil || authority.Devspace() != "mine" || secret.Type != corev1.SecretTypeTLS || secret.Labels[api.LabelDevspace] != "mine" {
		t.Fatalf("secret = %+v, %v", secret, err)
	}
	published := func() string {
		t.Helper()
		m, err := maps.Get(t.Context(), api.AuthorityName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return m.Data[api.IdentityAuthority]
	}
	if published() != string(authority.Certificate()) {
		t.Errorf("published is %q", published())
	}
	publish(t, client, []byte("another"))
	if err := create(t, client); err != nil {
		t.Fatal(err)
	}
	if published() != string(authority.Certificate()) {
		t.Error("a second create did not mend what is published")
	}
	if again, err := secrets.Get(t.Context(), api.AuthorityName, metav1.GetOptions{}); err != nil || !bytes.Equal(again.Data[api.AuthorityKey], secret.Data[api.AuthorityKey]) {
		t.Errorf("a second create replaced the authority: %v", err)
	}
	// Where the authority is another, the hub starts anew with it.
	if err := secrets.Delete(t.Context(), api.AuthorityName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := create(t, client); err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, hub := range hubs() {
		notes = append(notes, hub.Spec.Template.Annotations[api.Domain+"/authority"])
	}
	if len(notes) != 3 || notes[0] == "" || notes[0] != notes[1] || notes[1] == notes[2] {
		t.Errorf("the hubs' authorities are %q, want the third to be another", notes)
	}
}

func TestCreateRefusesAnothersAuthority(t *testing.T) {
	other, err := identity.NewAuthority("theirs")
	if err != nil {
		t.Fatal(err)
	}
	key, err := other.Key()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		secret corev1.Secret
		want   string
	}{
		"not the plugin's": {corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: api.AuthorityName, Namespace: "mine"}}, "kubectl label secret/formicarium-authority -n mine"},
		"no authority":     {corev1.Secret{ObjectMeta: authorityMeta("mine")}, "kubectl -n mine delete secret formicarium-authority"},
		"another devspace's": {corev1.Secret{ObjectMeta: authorityMeta("mine"), Data: map[string][]byte{
			api.AuthorityCertificate: other.Certificate(), api.AuthorityKey: key}}, "it is that of devspace theirs"},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := creator(t, &c.secret)
			wantError(t, "create", create(t, client), c.want)
		})
	}
}

func TestCreateOnAnOlderInstallation(t *testing.T) {
	client, hubs := creator(t)
	if err := client.Kube.RbacV1().ClusterRoles().Delete(t.Context(), manifests.TokenReviewerName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantError(t, "create", create(t, client), "older than this plugin", "kubectl fmc install")
	if len(hubs()) > 0 {
		t.Error("a hub was made all the same")
	}
}

func binding(name string, labels map[string]string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

// The right to have tokens reviewed goes with its devspace, and no other right.
func TestDeleteUnbinds(t *testing.T) {
	own := func(devspace string) map[string]string {
		return map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelDevspace: devspace}
	}
	client := fakeClient(t, nil, mine(), binding("mine's", own("mine")), binding("another's", own("another")),
		binding("somebody's", map[string]string{api.LabelDevspace: "mine"}), binding("cluster-admin", nil))
	left := func() string {
		t.Helper()
		found, err := client.Kube.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range found.Items {
			names = append(names, b.Name)
		}
		return strings.Join(names, " ")
	}
	if err := client.DeleteDevspace(t.Context(), "mine", &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if got := left(); got != "another's cluster-admin somebody's" {
		t.Errorf("after the delete there are %s", got)
	}
	if err := client.Uninstall(t.Context(), true, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if got := left(); got != "cluster-admin somebody's" {
		t.Errorf("after the uninstall there are %s", got)
	}
}

func TestDeleteWithoutTheRightToUnbind(t *testing.T) {
	client := fakeClient(t, nil, mine())
	forbid(t, client, "list", "clusterrolebindings")
	err := client.DeleteDevspace(t.Context(), "mine", &bytes.Buffer{})
	wantError(t, "delete", err, "the devspace is gone", "kubectl delete clusterrolebinding -l formicarium.io/devspace=mine")
	if _, err := client.GetDevspace(t.Context(), "mine"); err == nil {
		t.Error("the devspace is still there")
	}
}
