package trace

import (
	"fmt"
	"strings"
	"testing"
)

func TestSpanOfACall(t *testing.T) {
	tests := []struct {
		name, contentType, path string
		status                  int // -1: none came
		want                    string
	}{
		{"answered", "application/grpc", "/shop.Orders/Get", 0, "/shop.Orders/Get grpc shop.Orders Get 0 OK <nil>"},
		{"failed", "application/grpc+proto", "/shop.Orders/Get", 5, "/shop.Orders/Get grpc shop.Orders Get 5 NOT_FOUND true"},
		{"unknown status", "application/grpc;x=y", "/Orders/Get", 99, "/Orders/Get grpc Orders Get 99 <nil> true"},
		{"without a status", "application/grpc", "/shop.Orders/Get", -1, "/shop.Orders/Get grpc shop.Orders Get <nil> <nil> <nil>"},
		{"what looks like an identifier is a name", "application/grpc", "/api.v20240101.Orders/Get10042", 0, "/api.v20240101.Orders/Get10042 grpc api.v20240101.Orders Get10042 0 OK <nil>"},
		{"grpc-web", "application/grpc-web", "/shop.Orders/Get", 5, "POST /shop.Orders/Get <nil> <nil> <nil> <nil> <nil> <nil>"},
		{"another type", "text/plain", "/shop.Orders/Get", 5, "POST /shop.Orders/Get <nil> <nil> <nil> <nil> <nil> <nil>"},
		{"not a method's path", "application/grpc", "/a/b/17", 0, "POST /a/b/{id} <nil> <nil> <nil> <nil> <nil> <nil>"},
		{"no method", "application/grpc", "/a/", 0, "POST /a/ <nil> <nil> <nil> <nil> <nil> <nil>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, exported := newTracer(nil)
			request, _ := tracer.Begin(Inbound, head("POST", tt.path, "Host: orders", "Content-Type: "+tt.contentType))
			request.Answered(200)
			if tt.status >= 0 {
				request.GRPCStatus(tt.status)
			}
			request.End(Result{})
			values := map[string]any{}
			for _, tag := range exported.spans[0].Tags {
				values[tag.Key] = tag.Value
			}
			got := exported.spans[0].Name
			for _, key := range []string{"rpc.system", "rpc.service", "rpc.method", "grpc.status_code", "grpc.status", "error"} {
				got += fmt.Sprint(" ", values[key])
			}
			if got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestNamesOfCallsAreBounded(t *testing.T) {
	tracer, exported := newTracer(nil)
	for i := range MaxRoutes + 1 {
		request, _ := tracer.Begin(Inbound, head("POST", fmt.Sprintf("/s/m%d", i), "Content-Type: application/grpc"))
		request.End(Result{})
	}
	if last := exported.spans[MaxRoutes].Name; last != "POST /*" || !strings.HasPrefix(exported.spans[MaxRoutes-1].Name, "/s/m") {
		t.Errorf("the name beyond the bound is %s", last)
	}
}
