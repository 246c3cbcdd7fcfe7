package mysql

import "millrace/producers"

// AfterReadPoint calls f in every chunk of src once its read point is taken.
func AfterReadPoint(src producers.Source, f func()) { src.(*source).readPointTaken = f }
