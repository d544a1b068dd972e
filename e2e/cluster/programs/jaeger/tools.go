//go:build tools

// Package tools pins Jaeger, which is built from here by its package path.
package tools

import _ "github.com/jaegertracing/jaeger/cmd/jaeger"
