package proxy

import (
	"bytes"
	"context"
	"fmt"
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

	"github.com/formicarium/formicarium/netra/trace"
)

// pods are a client's proxy and a server's: what goes out through the one, which
// inserts the trace headers, comes in through the other, which replaces them.
func pods(t *testing.T, backend net.Listener) (client, server *rig) {
	t.Helper()
	client, server = start(t), start(t)
	server.to(backend)
	client.to(server.inbound)
	return client, server
}

// service is a gRPC service whose steps the test decides.
type service struct {
	grpc_testing.UnimplementedTestServiceServer
	begun chan metadata.MD
	steps chan int // sizes of messages to be sent
	got   chan int // sizes of messages received
	ended chan error
}

// UnaryCall answers, or fails as it is told.
func (s *service) UnaryCall(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	select {
	case s.begun <- md:
	default:
	}
	grpc.SetTrailer(ctx, metadata.Pairs("x-sum", fmt.Sprint(len(r.GetPayload().GetBody()))))
	if want := r.GetResponseStatus(); want != nil {
		return nil, status.Error(codes.Code(want.Code), want.Message)
	}
	return &grpc_testing.SimpleResponse{Payload: payload(int(r.ResponseSize))}, nil
}

// EmptyCall waits until the client gives up.
func (s *service) EmptyCall(ctx context.Context, _ *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.begun <- md
	<-ctx.Done()
	s.ended <- ctx.Err()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func (s *service) StreamingOutputCall(_ *grpc_testing.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[grpc_testing.StreamingOutputCallResponse]) error {
	for n := range s.steps {
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: payload(n)}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) StreamingInputCall(stream grpc.ClientStreamingServer[grpc_testing.StreamingInputCallRequest, grpc_testing.StreamingInputCallResponse]) error {
	sum := 0
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(m.Payload.Body)
		s.got <- len(m.Payload.Body)
	}
}

// FullDuplexCall echoes.
func (s *service) FullDuplexCall(stream grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
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

func payload(n int) *grpc_testing.Payload {
	return &grpc_testing.Payload{Body: bytes.Repeat([]byte("p"), n)}
}

// calling is a client of a service between two pods.
type calling struct {
	grpc_testing.TestServiceClient
	service        *service
	server         *grpc.Server
	client, behind *rig
	ctx            context.Context
}

const maxMessage = 32 << 20

func call(t *testing.T) *calling {
	t.Helper()
	c := &calling{
		service: &service{begun: make(chan metadata.MD, 1), steps: make(chan int), got: make(chan int), ended: make(chan error, 1)},
		server:  grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage)),
	}
	grpc_testing.RegisterTestServiceServer(c.server, c.service)
	backend := listen(t)
	go c.server.Serve(backend)
	t.Cleanup(c.server.Stop)
	c.client, c.behind = pods(t, backend)
	conn, err := grpc.NewClient("passthrough:"+c.client.outbound.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c.TestServiceClient = grpc_testing.NewTestServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c.ctx = ctx
	return c
}

// expectSpans waits for the two spans of one call and checks what they say.
func (c *calling) expectSpans(t *testing.T, method string, outcome ...any) {
	t.Helper()
	out, in := c.client.spans.wait(t, 1)[0], c.behind.spans.wait(t, 1)[0]
	if in.Context.Parent != out.Context.Span || in.Context.TraceLow != out.Context.TraceLow {
		t.Errorf("the server's span is not below the client's")
	}
	for _, s := range []trace.Span{out, in} {
		if s.Name != "/grpc.testing.TestService/"+method {
			t.Errorf("the span is %s", s.Name)
		}
		got := fmt.Sprint(tag(s, "rpc.system"), tag(s, "rpc.service"), tag(s, "rpc.method"), tag(s, "grpc.status"), tag(s, "grpc.status_code"), tag(s, "error"), tag(s, "http.status_code"))
		if want := fmt.Sprint(append([]any{"grpc", "grpc.testing.TestService", method}, outcome...)...); got != want {
			t.Errorf("%v: %s, want %s", tag(s, "span.kind"), got, want)
		}
	}
}

func TestUnaryCall(t *testing.T) {
	c := call(t)
	var trailer metadata.MD
	answer, err := c.UnaryCall(c.ctx, &grpc_testing.SimpleRequest{ResponseSize: 7, Payload: payload(3)}, grpc.Trailer(&trailer))
	if err != nil || len(answer.Payload.Body) != 7 || fmt.Sprint(trailer["x-sum"]) != "[3]" {
		t.Fatalf("%v, trailer %v, %v", answer, trailer, err)
	}
	md := <-c.service.begun
	if len(md["traceparent"]) != 1 || len(md["uber-trace-id"]) != 1 || len(md["x-request-id"]) != 1 {
		t.Errorf("the application received %v", md)
	}
	c.expectSpans(t, "UnaryCall", "OK", int64(0), nil, int64(200))
	span := c.behind.spans.wait(t, 1)[0]
	if want := fmt.Sprintf("-%016x-01", span.Context.Span); md["traceparent"][0][35:] != want {
		t.Errorf("traceparent %s does not end with %s", md["traceparent"][0], want)
	}
}

func TestCallWithTrailersOnly(t *testing.T) {
	c := call(t)
	_, err := c.UnaryCall(c.ctx, &grpc_testing.SimpleRequest{ResponseStatus: &grpc_testing.EchoStatus{Code: int32(codes.NotFound), Message: "none"}})
	if status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	c.expectSpans(t, "UnaryCall", "NOT_FOUND", int64(5), true, int64(200))
}

func TestCallsOneAfterAnother(t *testing.T) {
	c := call(t)
	for i := range 50 {
		// The client's table fills up and is referred to.
		ctx := metadata.AppendToOutgoingContext(c.ctx, "x-same", "always", "x-number", fmt.Sprint(i))
		if _, err := c.UnaryCall(ctx, &grpc_testing.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
		if md := <-c.service.begun; fmt.Sprint(md["x-same"], md["x-number"]) != fmt.Sprintf("[always] [%d]", i) {
			t.Fatalf("call %d: the application received %v", i, md)
		}
	}
	c.behind.spans.wait(t, 50)
}

func TestCallIsCancelled(t *testing.T) {
	c := call(t)
	ctx, cancel := context.WithCancel(c.ctx)
	go func() {
		<-c.service.begun
		cancel()
	}()
	if _, err := c.EmptyCall(ctx, &grpc_testing.Empty{}); status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
	if err := <-c.service.ended; err != context.Canceled {
		t.Errorf("the application saw %v", err)
	}
	for _, r := range []*rig{c.client, c.behind} {
		if got := tag(r.spans.wait(t, 1)[0], "error.reason"); got != trace.ReasonClientReset+": CANCEL" {
			t.Errorf("error.reason = %v", got)
		}
	}
}

func TestCallHasADeadline(t *testing.T) {
	c := call(t)
	ctx, cancel := context.WithTimeout(c.ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := c.EmptyCall(ctx, &grpc_testing.Empty{}); status.Code(err) != codes.DeadlineExceeded {
		t.Fatal(err)
	}
	<-c.service.ended
	// Whether the client's reset or the server's status comes first is open.
	for _, r := range []*rig{c.client, c.behind} {
		if span := r.spans.wait(t, 1)[0]; tag(span, "error") != true {
			t.Errorf("%+v", span)
		}
	}
}

func TestEachMessagePassesAtOnce(t *testing.T) {
	t.Run("from the server", func(t *testing.T) {
		c := call(t)
		stream, err := c.StreamingOutputCall(c.ctx, &grpc_testing.StreamingOutputCallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 100, 100_000, 0} {
			c.service.steps <- n
			if m, err := stream.Recv(); err != nil || len(m.GetPayload().GetBody()) != n {
				t.Fatalf("%d bytes, %v; want %d", len(m.GetPayload().GetBody()), err, n)
			}
		}
		close(c.service.steps)
		if _, err := stream.Recv(); err != io.EOF {
			t.Fatal(err)
		}
		c.expectSpans(t, "StreamingOutputCall", "OK", int64(0), nil, int64(200))
	})
	t.Run("from the client", func(t *testing.T) {
		c := call(t)
		stream, err := c.StreamingInputCall(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 100, 100_000, 1} {
			if err := stream.Send(&grpc_testing.StreamingInputCallRequest{Payload: payload(n)}); err != nil {
				t.Fatal(err)
			}
			if got := <-c.service.got; got != n {
				t.Fatalf("the application received %d bytes, want %d", got, n)
			}
		}
		if sum, err := stream.CloseAndRecv(); err != nil || sum.AggregatedPayloadSize != 100_102 {
			t.Fatalf("%v, %v", sum, err)
		}
		c.expectSpans(t, "StreamingInputCall", "OK", int64(0), nil, int64(200))
	})
	t.Run("both ways, on interleaved streams", func(t *testing.T) {
		c := call(t)
		var streams []grpc.BidiStreamingClient[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]
		for range 3 {
			stream, err := c.FullDuplexCall(c.ctx)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, stream)
		}
		for i := range 30 {
			stream, n := streams[i%3], i*1000+1
			if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: payload(n)}); err != nil {
				t.Fatal(err)
			}
			if m, err := stream.Recv(); err != nil || len(m.Payload.Body) != n {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		for _, stream := range streams {
			stream.CloseSend()
			if _, err := stream.Recv(); err != io.EOF {
				t.Fatal(err)
			}
		}
		c.behind.spans.wait(t, 3)
	})
}

func TestLargeMessagesUnderFlowControl(t *testing.T) {
	c := call(t)
	const size = 5 << 20
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() {
			answer, err := c.UnaryCall(c.ctx, &grpc_testing.SimpleRequest{Payload: payload(size), ResponseSize: size})
			if err == nil && len(answer.Payload.Body) != size {
				err = fmt.Errorf("received %d bytes", len(answer.Payload.Body))
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	for _, span := range c.behind.spans.wait(t, cap(failed)) {
		sent, received := tag(span, "http.request_size").(int64), tag(span, "http.response_size").(int64)
		if sent < size || sent > size+100 || received < size || received > size+100 {
			t.Errorf("%d bytes sent and %d received were counted, want some more than %d", sent, received, size)
		}
	}
}

func TestCallOutlivesGoAway(t *testing.T) {
	c := call(t)
	stream, err := c.StreamingOutputCall(c.ctx, &grpc_testing.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	c.service.steps <- 1
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.server.GracefulStop()
	}()
	c.service.steps <- 2
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	close(c.service.steps)
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
	<-stopped
	c.expectSpans(t, "StreamingOutputCall", "OK", int64(0), nil, int64(200))
}
