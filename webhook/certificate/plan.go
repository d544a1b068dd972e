package certificate

import (
	"crypto/tls"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Keys of the Secret's data beside those of a kubernetes.io/tls Secret.
const (
	keyAuthority = "ca.crt"

	keyNext          = "next.crt"
	keyNextKey       = "next.key"
	keyNextAuthority = "next-ca.crt"
)

// state is what a Secret says at a time.
type state struct {
	current, next Pair
	// serving is the current pair as it is served, nil where it cannot be, and
	// fault says why. coming is the next one.
	serving, coming *tls.Certificate
	fault           error
}

// read judges a Secret; nil is one that is missing.
func read(secret *corev1.Secret, names []string, now time.Time) state {
	var s state
	if secret != nil {
		s.current = Pair{CA: secret.Data[keyAuthority], Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}
		s.next = Pair{CA: secret.Data[keyNextAuthority], Certificate: secret.Data[keyNext], Key: secret.Data[keyNextKey]}
	}
	s.serving, s.fault = s.current.open(names, now)
	s.coming, _ = s.next.open(names, now)
	return s
}

// write returns the data of a Secret with these pairs. Others' keys stay.
func write(data map[string][]byte, current, next Pair) map[string][]byte {
	written := map[string][]byte{}
	for key, value := range data {
		written[key] = value
	}
	// A Secret of its type has these two, if only empty.
	written[corev1.TLSCertKey], written[corev1.TLSPrivateKeyKey] = notNil(current.Certificate), notNil(current.Key)
	for key, value := range map[string][]byte{
		keyAuthority: current.CA, keyNext: next.Certificate, keyNextKey: next.Key, keyNextAuthority: next.CA,
	} {
		delete(written, key)
		if len(value) > 0 {
			written[key] = value
		}
	}
	return written
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// wantsNext reports whether it is time to prepare a next pair.
func (s state) wantsNext(life time.Duration, now time.Time) bool {
	if s.coming != nil {
		return false
	}
	return s.serving == nil || !now.Before(renewal(s.serving.Leaf, life))
}

// wanted are the authorities that the API server is to trust.
func (s state) wanted() [][]byte {
	var list [][]byte
	if s.serving != nil {
		list = append(list, s.current.CA)
	}
	if s.coming != nil {
		list = append(list, s.next.CA)
	}
	return list
}

// times are those that the flow waits; see the package comment.
type times struct{ settle, hurry, retire time.Duration }

// timesOf returns the times for a certificate's life. With a life of a few
// minutes, which is for trying, all goes faster.
func timesOf(life time.Duration) times {
	return times{
		settle: min(time.Minute, life/20),
		hurry:  min(10*time.Second, life/20),
		retire: min(time.Hour, life/6),
	}
}

// settling returns how long the next authority must have been in caBundle.
// trusting says whether, without it, there was anybody for the API server to
// trust. A certificate that is about to end does not wait for its end.
func (t times) settling(s state, trusting bool, now time.Time) time.Duration {
	switch {
	case !trusting:
		return 0
	case s.serving == nil:
		return t.hurry
	}
	return min(t.settle, s.serving.Leaf.NotAfter.Sub(now)/4)
}

// stopwatch tells for how long a value has been the same, by this process's own
// clock.
type stopwatch struct {
	value string
	since time.Time
}

func (w *stopwatch) read(value []byte, now time.Time) time.Duration {
	if w.value != string(value) || w.since.IsZero() {
		w.value, w.since = string(value), now
	}
	return now.Sub(w.since)
}
