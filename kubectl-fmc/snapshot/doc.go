// Package snapshot carries a save from a local directory to a service's
// repository on a hub.
//
//	repo, err := snapshot.Open("./orders", snapshot.Options{Hub: "mine@cluster", Service: "orders"})
//	pusher := push.New(push.Config{BaseURL: url, Name: "orders", Client: client, Source: repo, Create: true})
//	err = snapshot.Run(ctx, snapshot.Config{Repo: repo, Pusher: pusher, OnEvent: show})
//
// A Repo turns the directory, whatever its state and whether or not it is a
// git repository, into a commit: Take looks at every file and reads those that
// changed since the last time, this run or an earlier one; TakePaths looks at
// the named paths only. Which files belong is decided by package ignore. The
// objects go to a store of the Repo's own in the user's cache directory
// (package object); the user's repository, index, hooks, signing and identity
// are never touched.
//
// Package push sends to the hub what it lacks, in one request per save.
// Package watch reports which paths changed. Run ties the three together, and
// goes on through whatever fails on the way.
package snapshot
