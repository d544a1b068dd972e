; Sent by the script reload to the service's REPL, as one line.
(do
  (require 'clojure.string 'clojure.java.io)
  (let [app "@APP@/"
        ; The file of a namespace, where it is one of the service's own.
        file (fn [n]
               (let [base (-> (name (ns-name n)) (clojure.string/replace "-" "_") (clojure.string/replace "." "/"))
                     url (some (fn [end] (clojure.java.io/resource (str base end))) [".clj" ".cljc"])
                     f (when (and url (= "file" (.getProtocol url))) (clojure.java.io/file (.toURI url)))]
                 (when (and f (clojure.string/starts-with? (.getPath (.getCanonicalFile f)) app)) f)))
        own (into {} (keep (fn [n] (when-let [f (file n)] [n f])) (all-ns)))
        ; What is known of the last time; at first, when the JVM started.
        began (.getStartTime (java.lang.management.ManagementFactory/getRuntimeMXBean))
        seen (or (some-> (System/getProperty "fmc.loaded") read-string) {})
        stamp (fn [n] (.lastModified (get own n)))
        changed (set (filter (fn [n] (not= (stamp n) (get seen (str n) (min began (stamp n))))) (keys own)))
        uses (fn [n] (set (concat (vals (ns-aliases n)) (keep (fn [v] (:ns (meta v))) (vals (ns-refers n))))))
        ; Whoever uses what is loaded anew is loaded anew.
        grow (fn [s] (into s (filter (fn [n] (some s (uses n))) (keys own))))
        all (loop [s changed] (let [more (grow s)] (if (= more s) s (recur more))))
        order (loop [left all done []]
                (if (empty? left)
                  done
                  (let [free (or (seq (remove (fn [n] (some (disj left n) (uses n))) left)) (seq left))]
                    (recur (reduce disj left free) (into done free)))))]
    (try
      (binding [*out* *err*]
        (doseq [n order] (require (ns-name n) :reload)))
      (System/setProperty "fmc.loaded" (pr-str (into {} (map (fn [n] [(str n) (stamp n)]) (keys own)))))
      (println (str "fmc-reloaded " (if (empty? order) "nothing" (clojure.string/join " " (map ns-name order)))))
      (catch Throwable t
        (println (str "fmc-failed " (clojure.string/replace (str (.getMessage t) (when-let [c (.getCause t)] (str ": " (.getMessage c)))) "\n" " ")))))))
