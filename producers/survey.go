package producers

import (
	"context"
	"errors"
	"slices"

	"millrace/internal/invalid"
	"millrace/schemas"
)

// Surveyor is a Config that can be looked at without being captured.
type Surveyor interface {
	// Survey connects and looks at what Open would need. It makes and changes
	// nothing at the source. An error says that the source could not be asked,
	// for a reason that may pass; what a person must cure is in the Survey.
	Survey(ctx context.Context, env Env) (*Survey, error)
}

// Survey is what a source says of itself.
type Survey struct {
	Faults []*HaltError     // each with its table, if it is a table's
	Tables []*schemas.Table // of the configured, those that can be captured
	// Meant is, by the name of a configured table that is not there, the one that
	// is and has almost the same name.
	Meant map[string]string
}

// Guess notes which of the source's tables was meant by one that is not there,
// and returns the question; it is empty if none comes near. A table that is
// configured too was not meant.
func (s *Survey) Guess(name string, there, configured []string) string {
	there = slices.DeleteFunc(there, func(t string) bool { return slices.Contains(configured, t) })
	near := invalid.Nearest(name, there)
	if near == "" {
		return ""
	}
	if s.Meant == nil {
		s.Meant = map[string]string{}
	}
	s.Meant[name] = near
	return "did you mean " + near + "? "
}

// Add notes what a person must cure; any other error is returned.
func (s *Survey) Add(table string, err error) error {
	var h *HaltError
	if !errors.As(err, &h) {
		return err
	}
	s.Faults = append(s.Faults, &HaltError{Table: table, Err: h.Err, Hint: h.Hint})
	return nil
}
