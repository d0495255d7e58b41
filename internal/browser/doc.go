// Package browser tests the pages with a real browser: the inspector, with
// scripted clusters and with a real one, and the page of roomring dev. It has
// nothing that others could import.
//
// A newcomer has no Chromium, so go test alone skips it. Run it with
//
//	make browser
//
// which is npm ci and go test -browser in this folder. Chromium (at
// /usr/bin/chromium, or where $CHROMIUM says) and Node 20 or newer are needed.
// With -shots DIR it leaves pictures of every state there.
//
// Read world_test.go (a scripted cluster: what no real one does on command),
// cluster_test.go (a real one), browser_test.go (what runs), check.mjs (what is
// asked of every page: no error, no request that leaves, contrast, no sideways
// scrolling), story.mjs (every control of the inspector, clicked), inspector.mjs
// (its states), real.mjs (it again, while a real cluster changes), demo_test.go
// with demo.mjs (the page of roomring dev, while its buttons break the cluster).
package browser
