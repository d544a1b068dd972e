package main

import (
	"os/exec"
	"path/filepath"

	"github.com/formicarium/formicarium/bench/netra/bed"
	"github.com/formicarium/formicarium/bench/netra/report"
)

// peer is a proxy that is measured; the first is none.
type peer struct {
	name string
	// sidecar says how to run it, from a directory with the programs of the
	// tree in which it may also write; nil: no sidecar.
	sidecar func(dir string) *bed.Sidecar
	// program is one of the machine's, "" one of the tree's.
	program string
	version string // the argument that makes program print its version
}

// listenOn is where every sidecar listens.
const listenOn = "14956"

// pprofPort is netra's, when a profile is taken.
const pprofPort = "14957"

// peers are all, in the order of the tables.
func peers() []peer {
	return []peer{
		{name: report.Direct},
		{name: report.Netra, sidecar: netra},
		{name: report.HAProxy, sidecar: haproxy, program: "haproxy", version: "-v"},
		{name: "nginx", sidecar: nginx, program: "nginx", version: "-v"},
		{name: report.Splice, sidecar: ours("splice")},
		{name: "revproxy", sidecar: ours("revproxy")},
	}
}

func peerNames() []string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

// netra is run as the webhook runs it, with an agent that takes every span.
func netra(dir string) *bed.Sidecar {
	return &bed.Sidecar{
		Name:    report.Netra,
		Command: []string{filepath.Join(dir, "netra")},
		Env: []string{
			"NETRA_PORT=" + listenOn, "JAEGER_SERVICE_NAME=app",
			"JAEGER_SAMPLER_TYPE=const", "JAEGER_SAMPLER_PARAM=1",
			"JAEGER_AGENT_HOST=127.0.0.1", "JAEGER_AGENT_PORT=6831",
		},
	}
}

// profiled is netra with its pprof port open.
func profiled(dir string) *bed.Sidecar {
	s := netra(dir)
	s.Env = append(s.Env, "NETRA_PPROF_PORT="+pprofPort)
	return s
}

// ours runs a program of bench/netra/peers.
func ours(name string) func(dir string) *bed.Sidecar {
	return func(dir string) *bed.Sidecar {
		return &bed.Sidecar{Name: name, Command: []string{filepath.Join(dir, name), ":" + listenOn}}
	}
}

// haproxy in HTTP mode finds the original destination by itself: that is what a
// server of 0.0.0.0:0 means. Connections to it are shared by clients, which is
// its default for safe requests and costs it least when made aggressive.
func haproxy(dir string) *bed.Sidecar {
	const config = `global
  maxconn 5000
defaults
  mode http
  http-reuse aggressive
  timeout connect 10s
  timeout client 5m
  timeout server 5m
  timeout http-request 30s
  timeout http-keep-alive 5m
listen inbound
  bind 0.0.0.0:` + listenOn + `
  server destination 0.0.0.0:0
`
	file := filepath.Join(dir, "haproxy.cfg")
	return &bed.Sidecar{
		Name:    report.HAProxy,
		Command: []string{machineProgram("haproxy"), "-db", "-f", file},
		Files:   map[string]string{"haproxy.cfg": config},
	}
}

// nginx knows no original destination; it is told where the application is.
// Keep-alive to it is off by default, and so is HTTP/1.1.
func nginx(dir string) *bed.Sidecar {
	config := `daemon off;
worker_processes auto;
worker_rlimit_nofile 15000;
pid ` + filepath.Join(dir, "nginx.pid") + `;
events { worker_connections 6000; }
http {
  access_log off;
  keepalive_timeout 5m;
  keepalive_requests 1000000000;
  client_body_temp_path ` + dir + `;
  proxy_temp_path ` + dir + `;
  fastcgi_temp_path ` + dir + `;
  uwsgi_temp_path ` + dir + `;
  scgi_temp_path ` + dir + `;
  upstream application {
    server ` + bed.AppAddr.String() + `;
    keepalive 512;
    keepalive_timeout 5m;
    keepalive_requests 1000000000;
  }
  server {
    listen ` + listenOn + `;
    location / {
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
`
	file := filepath.Join(dir, "nginx.conf")
	return &bed.Sidecar{
		Name:    "nginx",
		Command: []string{machineProgram("nginx"), "-e", "stderr", "-p", dir, "-c", file},
		Files:   map[string]string{"nginx.conf": config},
	}
}

// machineProgram returns where a program of the machine is. Debian keeps daemons
// where an ordinary PATH does not lead.
func machineProgram(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}
