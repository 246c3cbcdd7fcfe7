// Package deploytest has no code: its tests read what deploy/ holds by the
// libraries of those who will read it there: Docker's parser of the Dockerfile,
// Compose's loader, Prometheus' rules and queries. It is a module of its own
// because these take minutes to build.
package deploytest
