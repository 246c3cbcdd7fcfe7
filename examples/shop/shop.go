// Package shop holds the example of a shop whose data is split over four
// databases: its configuration and its derived tables, as one would write them.
package shop

import "embed"

// Files are millrace.yaml and the folder derived.
//
//go:embed millrace.yaml derived
var Files embed.FS
