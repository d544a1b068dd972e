package trace

import (
	"fmt"
	"strings"
	"testing"
)

func TestRoute(t *testing.T) {
	tests := []struct{ target, want string }{
		{"/", "GET /"},
		{"/orders", "GET /orders"},
		{"/orders/", "GET /orders/"},
		{"/orders/17", "GET /orders/{id}"},
		{"/orders/17/items/3?x=1#y", "GET /orders/{id}/items/{id}"},
		{"/orders?id=17", "GET /orders"},
		{"/users/3f2504e0-4f89-11d3-9a0c-0305e82c3301/x", "GET /users/{id}/x"},
		{"/c/da39a3ee5e6b4b0d3255bfef95601890afd80709", "GET /c/{id}"},
		{"/c/da39a3ee", "GET /c/{id}"},
		{"/c/DA39A3EE", "GET /c/{id}"},
		{"/c/deadbeef", "GET /c/deadbeef"},
		{"/c/facade", "GET /c/facade"},
		{"/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET /u/{id}"},
		{"/u/VGhpcyBpcyBh0123456789", "GET /u/{id}"},
		{"/order-10042", "GET /{id}"},
		{"/reports/2026-11-22", "GET /reports/{id}"},
		{"/mail/ann@example.org", "GET /mail/{id}"},
		{"/api/v2/oauth2/iso-8859-1", "GET /api/v2/oauth2/iso-8859-1"},
		{"/static/js/main.js", "GET /static/js/main.js"},
		{"/" + strings.Repeat("x", 65), "GET /{id}"},
		{"/a/b/c/d/e/f/g/h/i/j", "GET /a/b/c/d/e/f/g/h/*"},
		{"/a/b/c/d/e/f/g/h", "GET /a/b/c/d/e/f/g/h"},
		{"http://host:80/orders/17?x", "GET /orders/{id}"},
		{"http://host", "GET /"},
		{"/redirect/http://other/x", "GET /redirect/http://other/x"},
		{"*", "GET *"},
	}
	for _, tt := range tests {
		if got := Route("GET", tt.target); got != tt.want {
			t.Errorf("Route(%q) = %q, want %q", tt.target, got, tt.want)
		}
	}
	if got := Route("CONNECT", "host:443"); got != "CONNECT" {
		t.Errorf("Route of CONNECT = %q", got)
	}
}

func TestRouteNamesAreBounded(t *testing.T) {
	var r routes
	for i := range MaxRoutes {
		letters := strings.Map(func(c rune) rune { return c - '0' + 'a' }, fmt.Sprint(i))
		if name := r.name([]byte("GET"), []byte("/"+letters)); name != "GET /"+letters {
			t.Fatalf("name %d is %q", i, name)
		}
	}
	if got := r.name([]byte("POST"), []byte("/new")); got != "POST /*" {
		t.Errorf("a new name beyond the bound is %q", got)
	}
	if got := r.name([]byte("ODD"), []byte("/new")); got != "OTHER /*" {
		t.Errorf("an unknown method beyond the bound is %q", got)
	}
	if got := r.name([]byte("GET"), []byte("/b")); got != "GET /b" {
		t.Errorf("a known name is %q", got)
	}
}

func TestPeerName(t *testing.T) {
	tests := []struct{ host, want string }{
		{"orders", "orders"},
		{"Orders:8080", "orders"},
		{"orders.shop", "orders"},
		{"orders.shop.svc", "orders"},
		{"orders.shop.svc.cluster.local", "orders"},
		{"orders.shop.svc.cluster.local.:80", "orders"},
		{"orders.other.svc.cluster.local", "orders.other"},
		{"db-0.db.shop.svc.cluster.local", "db-0.db"},
		{"api.example.org:443", "api.example.org"},
		{"10.0.0.1:80", "10.0.0.1"},
		{"[fd00::1]:80", "fd00::1"},
		{"fd00::1", "fd00::1"},
		{"shop", "shop"},
		{".shop", ".shop"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := PeerName(tt.host, "shop"); got != tt.want {
			t.Errorf("PeerName(%q) = %q, want %q", tt.host, got, tt.want)
		}
	}
	if got := PeerName("orders.shop", ""); got != "orders.shop" {
		t.Errorf("without a namespace: %q", got)
	}
}
