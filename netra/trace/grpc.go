package trace

import (
	"bytes"
	"strings"
)

// call is what is known of a gRPC call. A nil *call is none.
type call struct {
	service, method string
	ended           bool // the server has told a status
	status          int
}

// readCall returns the gRPC call that a request makes. Its content type says
// that it is one, its path is /service/method.
func readCall(head Head, f *fields) *call {
	const kind = "application/grpc"
	rest, ok := bytes.CutPrefix(f.value[hContentType], []byte(kind))
	if !ok || len(rest) > 0 && rest[0] != '+' && rest[0] != ';' { // not grpc-web
		return nil
	}
	service, method, ok := strings.Cut(strings.TrimPrefix(Path(clip(head.Target)), "/"), "/")
	if !ok || service == "" || method == "" || strings.Contains(method, "/") {
		return nil
	}
	return &call{service: service, method: method}
}

// name is the span's. Services and methods are declared, so there are no
// identifiers to be left out of it.
func (c *call) name() string { return "/" + c.service + "/" + c.method }

func (c *call) describe(tags []Tag) []Tag {
	return append(tags, Tag{"rpc.system", "grpc"}, Tag{"rpc.service", c.service}, Tag{"rpc.method", c.method})
}

// outcome adds the status, as its number and as its name.
func (c *call) outcome(tags []Tag) []Tag {
	if !c.ended {
		return tags
	}
	tags = append(tags, Tag{"grpc.status_code", int64(c.status)})
	if c.status < len(grpcStatuses) {
		tags = append(tags, Tag{"grpc.status", grpcStatuses[c.status]})
	}
	return tags
}

func (c *call) failed() bool { return c != nil && c.status != 0 }

// grpcStatuses are the names of gRPC's status codes.
var grpcStatuses = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// GRPCStatus notes the status of a gRPC call, which comes in the response's
// trailers; any but 0 makes the call a failed one. Of another request it says
// nothing.
func (r *Request) GRPCStatus(code int) {
	if r.call != nil {
		r.call.ended, r.call.status = true, code
	}
}
