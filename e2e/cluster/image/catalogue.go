package image

import (
	"github.com/formicarium/formicarium/e2e/cluster/build"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Catalogue are all images for tests and demos. The project's own programs run
// as the users that they run as in a cluster; chambers run as root, as the
// languages' public images do.
var Catalogue = []Definition{
	static("webhook", nobody, Source{Bin: "webhook"}),
	static("stinger", nobody, Source{Bin: "stinger"}),
	static("netra", netraUser, Source{Bin: "netra"}),
	static("netra-init", root, Source{Bin: "netra-init"}),
	{
		// For nodes without nf_tables.
		Name:     "netra-init-iptables",
		Packages: []string{"iptables"},
		Files:    []File{{Path: "netra-init", From: Source{Bin: "netra-init"}, Mode: 0o755}},
		Config:   v1.Config{Entrypoint: []string{"/netra-init"}, User: root, WorkingDir: "/", Env: []string{searchPath}},
	},
	{
		Name:     "tanajura",
		Packages: []string{"git"},
		Files:    []File{{Path: "tanajura", From: Source{Bin: "tanajura"}, Mode: 0o755}},
		Config:   v1.Config{Entrypoint: []string{"/tanajura"}, User: nobody, WorkingDir: "/", Env: []string{searchPath, "HOME=/tmp"}},
	},
	{
		Name:  "jaeger",
		Files: []File{{Path: "jaeger", From: Source{Program: &build.Jaeger, Binary: "jaeger"}, Mode: 0o755}},
		Config: v1.Config{
			Entrypoint: []string{"/jaeger"}, User: nobody, WorkingDir: "/", Env: []string{searchPath},
			ExposedPorts: map[string]struct{}{"4317/tcp": {}, "4318/tcp": {}, "14268/tcp": {}, "16686/tcp": {}},
		},
	},
	chamber("python", "python3", "python3", "python3-venv"),
	chamber("node", "node", "nodejs"),
	{
		Name:     "chamber-go",
		Packages: essential,
		Extra:    golang{},
		Config:   v1.Config{Cmd: []string{"go", "version"}, WorkingDir: "/", Env: goEnv},
	},
	chamber("clojure", "clojure", "default-jre-headless", "clojure", "leiningen"),
	{
		Name:     "debug",
		Packages: []string{"curl", "iproute2", "nftables", "procps"},
		Config:   v1.Config{Cmd: []string{"sleep", "infinity"}, WorkingDir: "/", Env: []string{searchPath}},
	},
}

// chamber is a language's image: the packages, and the language's program as
// what runs where a pod names nothing else.
func chamber(language, program string, packages ...string) Definition {
	return Definition{
		Name:     "chamber-" + language,
		Packages: packages,
		Config:   v1.Config{Cmd: []string{program}, WorkingDir: "/", Env: []string{searchPath}},
	}
}
