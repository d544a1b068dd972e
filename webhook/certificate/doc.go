// Package certificate keeps the webhook's serving certificate: it makes it,
// renews it in time and has the API server trust it, so that nobody has to
// think of it and no admission fails on its account.
//
//	keeper := certificate.New(certificate.Options{Client: client, Life: 90 * 24 * time.Hour, Log: log})
//	go keeper.Run(ctx)
//	tlsConfig.GetCertificate = keeper.Get
//
// Each certificate has an authority of its own, whose key is thrown away as soon
// as it has signed: an authority that the API server trusts can sign nothing
// else. So a renewal changes both, and the order of the changes is what matters.
// Two objects hold all that replicas must agree on:
//
//	Secret                         tls.crt tls.key ca.crt           what is served
//	                               next.crt next.key next-ca.crt    what will be, while a renewal goes on
//	MutatingWebhookConfiguration   caBundle                         what the API servers trust
//
// All replicas run the same steps, over and over: when either object changes
// (a watch tells), when the next step is due, and once a minute. There is no
// leader and no lease: each write names the resourceVersion that was read, so of
// two replicas that want the same step one is refused, reads again, and finds it
// done.
//
//  1. Prepare. Where half of the current pair's life is over (which leaves time
//     for failures before two thirds are), or there is none that can be used
//     (the Secret is missing, damaged, or its certificate has ended), a next
//     pair is made and stored. Nobody serves it.
//  2. Trust. The authorities of the current and the next pair are added to
//     caBundle; those that are there stay. Only what has ended is dropped.
//  3. Serve. A replica takes over the current pair of the Secret, after step 2
//     in the same round: whatever comes into the Secret by whatever hand, its
//     authority is in caBundle before it is served.
//  4. Promote. When a replica has seen the next authority in caBundle for a
//     settling time, by its own clock, the next pair becomes the current one.
//     API servers learn of a configuration by a watch, in a second or so; the
//     settling time is a minute. It is ten seconds where there is no usable pair
//     in the Secret (a replica may be serving one that it has read before), and
//     none where no API server can be trusting anybody: before there is a
//     configuration, or when every authority in it has ended.
//  5. Retire. When a replica has seen the same current pair for an hour, with no
//     next one, authorities that are neither leave caBundle. The other replicas
//     have heard of the pair by their own watches, in a second or so, too.
//
// The Secret is read from the API server and not from a volume: what the kubelet
// writes lags by a minute or more, and differently on each node. A replica that
// cannot reach the API server goes on with the pair that it has. It is ready
// once it has one whose time it is.
//
// It needs, of its own Secret and its own configuration by name, get, list and
// watch; update of the Secret and patch of the configuration; and create of
// Secrets in its own namespace, which cannot be limited to a name.
package certificate
