package warehouse

// ChangedError is the reason when a table is not as Millrace has left it: someone
// has changed it by hand, and to go on would lose rows or values in silence
// (G12). Nothing is written to it until it is as it was.
type ChangedError struct {
	Problem string
	Cure    string
}

func (e *ChangedError) Error() string { return e.Problem + ": " + e.Cure }
