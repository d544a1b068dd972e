package trace

import "bytes"

// call is what is known of a gRPC call. The zero value is none.
type call struct {
	service, method []byte
	ended           bool // the server has told a status
	status          int
}

// readCall returns the gRPC call that a request makes, of which target must stay
// as it is. Its content type says that it is one, its path is /service/method.
func readCall(target []byte, f *fields) call {
	const kind = "application/grpc"
	rest, ok := bytes.CutPrefix(f.value[hContentType], []byte(kind))
	if !ok || len(rest) > 0 && rest[0] != '+' && rest[0] != ';' { // not grpc-web
		return call{}
	}
	service, method, ok := bytes.Cut(bytes.TrimPrefix(path(target), []byte("/")), []byte("/"))
	if !ok || len(service) == 0 || len(method) == 0 || bytes.IndexByte(method, '/') >= 0 {
		return call{}
	}
	return call{service: service, method: method}
}

func (c *call) is() bool { return c.service != nil }

// appendName appends the span's name. Services and methods are declared, so there
// are no identifiers to be left out of it.
func (c *call) appendName(b []byte) []byte {
	b = append(append(b, '/'), c.service...)
	return append(append(b, '/'), c.method...)
}

func (c *call) describe(to *record) {
	to.word("rpc.system", "grpc")
	to.text("rpc.service", c.service)
	to.text("rpc.method", c.method)
}

// outcome adds the status, as its number and as its name.
func (c *call) outcome(to *record) {
	if !c.ended {
		return
	}
	to.number("grpc.status_code", int64(c.status))
	if c.status < len(grpcStatuses) {
		to.word("grpc.status", grpcStatuses[c.status])
	}
}

func (c *call) failed() bool { return c.status != 0 }

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
	if r.call.is() {
		r.call.ended, r.call.status = true, code
	}
}
