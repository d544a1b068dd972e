//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// testClojureReloads edits a namespace: the process goes on, and answers with
// the new code. Nothing can be downloaded, so the service names its class path.
func testClojureReloads(t *testing.T, s *system) {
	dir := t.TempDir()
	source := filepath.Join(dir, "src", "greet")
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "deps.edn"), "{}\n")
	write(t, filepath.Join(source, "text.clj"), "(ns greet.text)\n(defn text [] \"hello from clojure\")\n")
	write(t, filepath.Join(source, "core.clj"), `(ns greet.core (:require [greet.text :as text])
  (:import [com.sun.net.httpserver HttpServer HttpHandler] [java.net InetSocketAddress]))
(defn -main [& _]
  (doto (HttpServer/create (InetSocketAddress. 8080) 0)
    (.createContext "/" (reify HttpHandler
      (handle [_ exchange]
        (let [body (.getBytes (text/text))]
          (.sendResponseHeaders exchange 200 (count body))
          (with-open [out (.getResponseBody exchange)] (.write out body))))))
    (.start)))
`)
	definition := filepath.Join(t.TempDir(), "fmc.yaml")
	write(t, definition, fmt.Sprintf(`
name: greet-clojure
path: %s
image: %s
chamber: clojure
build: "true"
start: exec java $repl -cp "$(echo /usr/share/java/clojure*.jar /usr/share/java/*spec*.jar | tr ' ' ':'):src" clojure.main -m greet.core
reload: [{paths: "*.clj", do: reload}]
ports: [8080]
`, dir, s.Images.Clojure))
	s.fmc(t, "deploy", "greet-clojure", "-f", definition, "-n", devspace)
	t.Cleanup(func() { s.undeploy(t, "greet-clojure") })
	s.answers(t, "greet-clojure", "hello from clojure")
	before := s.onlyContainer(t, "greet-clojure")
	write(t, filepath.Join(source, "text.clj"), "(ns greet.text)\n(defn text [] \"good day from clojure\")\n")
	s.fmc(t, "sync", "greet-clojure", dir, "-n", devspace, "--once")
	s.answers(t, "greet-clojure", "good day from clojure")
	if after := s.onlyContainer(t, "greet-clojure"); after.PID != before.PID || after.Restarts != before.Restarts {
		t.Errorf("the process was %d (%d restarts) and is %d (%d restarts)", before.PID, before.Restarts, after.PID, after.Restarts)
	}
}
