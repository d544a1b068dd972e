package main

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// grpcService answers, echoes streams, and hands on to another service if there
// is one.
type grpcService struct {
	grpc_testing.UnimplementedTestServiceServer
	next  grpc_testing.TestServiceClient
	heads chan string
}

func (s *grpcService) UnaryCall(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	fields, _ := metadata.FromIncomingContext(ctx)
	s.heads <- fields.Get("traceparent")[0]
	if s.next != nil {
		return s.next.UnaryCall(context.WithoutCancel(ctx), r) // without the metadata
	}
	if want := r.GetResponseStatus(); want != nil {
		return nil, status.Error(codes.Code(want.Code), want.Message)
	}
	return &grpc_testing.SimpleResponse{Payload: r.Payload}, nil
}

func (s *grpcService) FullDuplexCall(stream grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: m.Payload}); err != nil {
			return err
		}
	}
}

func grpcClient(t *testing.T, from netns, address string) grpc_testing.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(_ context.Context, address string) (net.Conn, error) { return from.dial(address) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return grpc_testing.NewTestServiceClient(conn)
}

func serveGRPC(t *testing.T, n netns, address string, s *grpcService) {
	t.Helper()
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, s)
	go server.Serve(n.listen(address))
	t.Cleanup(server.Stop)
}

// TestGRPCInAPod has a gRPC client call a service in a pod that calls another
// one outside.
func TestGRPCInAPod(t *testing.T) {
	pod, peer, spans, stop := captured(t)
	heads := make(chan string, 2)
	serveGRPC(t, peer, ":50052", &grpcService{heads: heads})
	serveGRPC(t, pod, ":50051", &grpcService{heads: heads, next: grpcClient(t, pod, peerV4+":50052")})
	client := grpcClient(t, peer, podV4+":50051")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, test := range []struct {
		name, code, link string
		status           *grpc_testing.EchoStatus
	}{{"answered", "0", "inferred", nil}, {"failed", "5", "likely", &grpc_testing.EchoStatus{Code: int32(codes.NotFound), Message: "no such order"}}} {
		t.Run(test.name, func(t *testing.T) {
			body := make([]byte, 100_000)
			answer, err := client.UnaryCall(ctx, &grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: body}, ResponseStatus: test.status})
			if test.status != nil {
				if status.Code(err) != codes.NotFound || status.Convert(err).Message() != "no such order" {
					t.Errorf("the call failed with %v", err)
				}
			} else if err != nil || len(answer.Payload.Body) != len(body) {
				t.Errorf("answer of %d bytes, %v", len(answer.GetPayload().GetBody()), err)
			}
			server, call := spans.find(t, traceparentOf(t, <-heads)[2]), spans.find(t, traceparentOf(t, <-heads)[2])
			if call.ParentSpanId != server.SpanId || tag(call, "netra.link") != test.link {
				t.Errorf("the call is below %x, want %x: %+v", call.ParentSpanId, server.SpanId, call)
			}
			for _, s := range []struct {
				kind string
				tag  func(string) string
				name string
			}{
				{"server", func(key string) string { return anyTag(server, key) }, server.OperationName},
				{"client", func(key string) string { return anyTag(call, key) }, call.OperationName},
			} {
				if s.name != "/grpc.testing.TestService/UnaryCall" || s.tag("span.kind") != s.kind || s.tag("grpc.status_code") != test.code {
					t.Errorf("span %s of the %s, code %s", s.name, s.kind, s.tag("grpc.status_code"))
				}
			}
		})
	}
	t.Run("stream", func(t *testing.T) { expectEcho(ctx, t, client, spans) })
	if err := stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}

// expectEcho has a stream's messages come back one by one.
func expectEcho(ctx context.Context, t *testing.T, client grpc_testing.TestServiceClient, spans *collector) {
	t.Helper()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // each is echoed before the next is sent
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, 1<<i)}}); err != nil {
			t.Fatal(err)
		}
		if m, err := stream.Recv(); err != nil || len(m.Payload.Body) != 1<<i {
			t.Fatalf("message %v, %v", m, err)
		}
	}
	stream.CloseSend()
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
	span := spans.named(t, "/grpc.testing.TestService/FullDuplexCall")
	if anyTag(span, "grpc.status_code") != "0" || span.Duration <= 0 || time.Duration(span.Duration)*time.Microsecond > patience {
		t.Errorf("the span says %+v", span)
	}
}
