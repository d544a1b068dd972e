package main

import "time"

// scenario is how clients and application behave.
type scenario struct {
	name string
	// pause is how long the application works, at most, before each of its
	// calls and before its answer. It makes one to three calls.
	pause time.Duration
	// think is how long a client waits, at most, before its next request.
	think time.Duration
	// slow is the share of requests, one of so many, that take ten pauses more.
	slow int
	// abandon says that of so many requests one is given up by its client, which
	// closes the connection, or with reset breaks it off. The application works
	// on.
	abandon int
	reset   bool
	// keep is netra's NETRA_TRACING_CONTEXT_EXPIRATION_MILLISECONDS; longer than
	// the application works for anybody who has gone.
	keep time.Duration
	// timer is how often the application makes a call on its own; 0: never.
	timer time.Duration
	// after says that the application goes on after some of its answers, and
	// then makes a call.
	after bool
	// fresh says that every request and every call has a connection of its own.
	fresh bool
	// page is how many requests in a row are of one trace, as those of a page
	// whose front end is traced; 0: requests come without trace headers.
	page int
	// http2 says that all clients share one connection of HTTP/2, as behind a
	// gateway; who gives up resets a stream.
	http2 bool
}

// keep is netra's default.
const keep = 5 * time.Second

// pause makes requests last some ten milliseconds, as those of services do.
const pause = 5 * time.Millisecond

var scenarios = []scenario{
	{name: "calls at once", keep: keep},
	{name: "calls with pauses", pause: pause, keep: keep},
	{name: "a connection for each", pause: pause, keep: keep, fresh: true},
	{name: "clients that think", pause: pause, think: 20 * pause, keep: keep},
	{name: "clients that think, kept 10 ms", pause: pause, think: 20 * pause, keep: 2 * pause},
	{name: "pages of 10 requests", pause: pause, keep: keep, page: 10},
	{name: "one of 20 slow", pause: pause, keep: keep, slow: 20},
	{name: "one of 20 given up", pause: pause, keep: keep, abandon: 20},
	// Each reset makes all ambiguous for as long as contexts are kept; by the
	// default that would be all the load.
	{name: "one of 20 reset, kept 150 ms", pause: pause, keep: 30 * pause, abandon: 20, reset: true},
	{name: "streams of HTTP/2", pause: pause, keep: keep, http2: true},
	{name: "one of 20 streams reset, kept 150 ms", pause: pause, keep: 30 * pause, http2: true, abandon: 20, reset: true},
	{name: "a timer every 10 ms", pause: pause, keep: keep, timer: 10 * time.Millisecond},
	{name: "work after the answer", pause: pause, keep: keep, after: true},
}
