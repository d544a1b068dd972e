package trace

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// schema is what of opentelemetry-proto, version 1, netra has to do with.
const schema = `
message ExportTraceServiceRequest
repeated ResourceSpans resource_spans 1
message ResourceSpans
Resource resource 1
repeated ScopeSpans scope_spans 2
message Resource
repeated KeyValue attributes 1
message ScopeSpans
Scope scope 1
repeated Span spans 2
message Scope
string name 1
string version 2
message Span
bytes trace_id 1
bytes span_id 2
bytes parent_span_id 4
string name 5
int32 kind 6
fixed64 start_time_unix_nano 7
fixed64 end_time_unix_nano 8
repeated KeyValue attributes 9
Status status 15
fixed32 flags 16
message Status
string message 2
int32 code 3
message KeyValue
string key 1
AnyValue value 2
message AnyValue
oneof string string_value 1
oneof bool bool_value 2
oneof int64 int_value 3
message ExportTraceServiceResponse
PartialSuccess partial_success 1
message PartialSuccess
int64 rejected_spans 1
string error_message 2
message RPCStatus
int32 code 1
string message 2
`

var scalars = map[string]descriptorpb.FieldDescriptorProto_Type{
	"string": descriptorpb.FieldDescriptorProto_TYPE_STRING, "bytes": descriptorpb.FieldDescriptorProto_TYPE_BYTES,
	"bool": descriptorpb.FieldDescriptorProto_TYPE_BOOL, "int32": descriptorpb.FieldDescriptorProto_TYPE_INT32,
	"int64": descriptorpb.FieldDescriptorProto_TYPE_INT64, "fixed32": descriptorpb.FieldDescriptorProto_TYPE_FIXED32,
	"fixed64": descriptorpb.FieldDescriptorProto_TYPE_FIXED64,
}

// messageOf returns an empty message of the schema.
func messageOf(t testing.TB, name string) *dynamicpb.Message {
	t.Helper()
	file, err := parsedSchema()
	if err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewMessage(file.Messages().ByName(protoreflect.Name(name)))
}

var parsedSchema = sync.OnceValues(func() (protoreflect.FileDescriptor, error) {
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("otlp.proto"), Syntax: proto.String("proto3")}
	var message *descriptorpb.DescriptorProto
	for line := range strings.Lines(strings.TrimSpace(schema)) {
		words := strings.Fields(line)
		if words[0] == "message" {
			message = &descriptorpb.DescriptorProto{Name: &words[1]}
			file.MessageType = append(file.MessageType, message)
			continue
		}
		f := &descriptorpb.FieldDescriptorProto{Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		switch words[0] {
		case "repeated":
			f.Label, words = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(), words[1:]
		case "oneof":
			if message.OneofDecl == nil {
				message.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("value")}}
			}
			f.OneofIndex, words = proto.Int32(0), words[1:]
		}
		f.Name = &words[1]
		var number int32
		if err := json.Unmarshal([]byte(words[2]), &number); err != nil {
			return nil, err
		}
		f.Number = &number
		if kind, ok := scalars[words[0]]; ok {
			f.Type = kind.Enum()
		} else {
			f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String("."+words[0])
		}
		message.Field = append(message.Field, f)
	}
	return protodesc.NewFile(file, nil)
})

// otlpRequest is a request as it was decoded.
type otlpRequest struct {
	ResourceSpans []struct {
		Resource struct {
			Attributes []struct{ Key string }
		}
		ScopeSpans []struct {
			Spans []struct{ Name string }
		}
	}
}

// names returns the spans' names.
func (r otlpRequest) names() (names []string) {
	for _, resource := range r.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				names = append(names, span.Name)
			}
		}
	}
	return names
}

// decode decodes a request, and returns it as indented JSON, too.
func decode(t testing.TB, b []byte) (request otlpRequest, text []byte) {
	t.Helper()
	message := messageOf(t, "ExportTraceServiceRequest")
	if err := proto.Unmarshal(b, message); err != nil {
		t.Fatalf("decoding a request: %v", err)
	}
	text, err := protojson.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &request); err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	return request, indented.Bytes()
}
