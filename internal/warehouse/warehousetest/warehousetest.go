// Package warehousetest is the suite that every warehouse.Loader passes, and the
// one of every warehouse.Runner.
//
// Its oracle is package register: after every load the table, the counts, what
// was touched and the images that were kept must be those that the algebra
// gives. What it does not test is how fast a loader is.
package warehousetest

import (
	"strings"
	"testing"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Harness is a warehouse of its own for one test.
type Harness struct {
	// Loader is the open warehouse.
	Loader func() warehouse.Loader
	// Crash makes the warehouse what it would be after the death of its process
	// at this moment, and Loader the reopened one.
	Crash func(t *testing.T)
	// Faults stops the loader; Points are the points of a load in order, of
	// which those from Committed on lie behind its commit.
	Faults    *fault.Plan
	Points    []string
	Committed string
	// Succession are the points of a succession; the last lies behind its commit.
	Succession []string
	// Rows reads every row of a core table, delete markers too, in any order.
	Rows func(t *testing.T, table warehouse.CoreTable) []Stored
	// View reads what readers see, in any order.
	View func(t *testing.T, table warehouse.CoreTable) []schemas.Row
	// Limits are those of the warehouse.
	Limits Limits
	// Slow: a load takes tenths of a second. It goes through fewer random histories.
	Slow bool
	// dying lets the process die at one point after the other, one a load.
	dying bool
	dies  int

	// Images reads the images of changes that are kept of the named columns.
	Images func(t *testing.T, table warehouse.CoreTable, columns []string) []Image
}

// Limits are what a warehouse does not hold as it came; the zero value has none.
type Limits struct {
	// JSONByMeaning: spaces, the order of members and those that come twice are
	// lost, and numbers are those of a float64.
	JSONByMeaning bool
	// FourDigitYears: times lie in the years 1 to 9999.
	FourDigitYears bool
	// TellsCase: names in upper and in lower case are two.
	TellsCase bool
	// OddTable and OddColumns are the oddest names that it takes, in place of the
	// suite's: 22 of them.
	OddTable   string
	OddColumns []string
}

// Stored is a row as the warehouse holds it. V holds Null where Unset names the
// column.
type Stored struct {
	V       schemas.Row
	Unset   []string
	Pos     schemas.Position
	Born    schemas.Position
	Deleted bool
	Load    int64
	Op      string // of a history
}

// Image is an old or new image of a row that a load changed.
type Image struct {
	Load int64
	New  bool
	V    schemas.Row // by the order of the columns asked for
}

// Run runs the suite: every case as it is, and again with the process dying in
// every load and its successor going on. open makes an empty warehouse.
func Run(t *testing.T, open func(t *testing.T) *Harness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Harness)
	}{
		{"FreshLoad", freshLoad},
		{"EmptyBatchCarriesMarks", marksOnly},
		{"ReplayIsFencedByNumberThenStale", replay},
		{"OffsetsDoNotGoBack", offsets},
		{"Rewind", rewind},
		{"ZombieWritesNothing", zombie},
		{"ZombieDuringTheCommitOfTheNewOwner", zombieInFlight},
		{"AcquireDuringALoad", acquireInFlight},
		{"DuplicateKeysInTheStage", duplicates},
		{"CountsMustAddUp", countsAddUp},
		{"TruncateReachesEveryPartition", truncate},
		{"SnapshotEndOverPartitionsAndLoads", snapshotEnd},
		{"BlockedStandsStill", blocked},
		{"MoreRowsThanABuffer", manyRows},
		{"LateSnapshotRowFillsUnset", fills},
		{"RevivedRowInheritsNothing", revived},
		{"MissingColumnThatIsNeverUnset", uncarried},
		{"TouchedOfMovedDeletedAndNull", touched},
		{"UnchangedRowTouchesNothing", untouched},
		{"ChangesAndNeedsSwitchedOnLater", changes},
		{"ColumnAdded", columnAdded},
		{"TypesWiden", widen},
		{"EnsureRefuses", refuses},
		{"History", history},
		{"WithoutAKey", keyless},
		{"NextGenerationOfACopy", nextCopy},
		{"NextGenerationOfAHistory", nextHistory},
		{"NextGenerationIsFenced", nextFenced},
		{"OddNames", oddNames},
		{"EveryTypeAndItsExtremes", everyType},
		{"ValuesThatDoNotFit", badValues},
		{"RefusedRowsAreNamed", refusedRows},
		{"DeathAtEveryPoint", deaths},
		{"ErrorAtEveryPoint", failures},
		{"CancelledAtEveryPoint", cancelled},
		{"RandomHistories", randomHistories},
		{"RandomFoldsMatchTheAlgebra", randomFolds},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
		if testing.Short() || strings.HasSuffix(c.name, "AtEveryPoint") {
			continue
		}
		t.Run(c.name+"/Dying", func(t *testing.T) {
			h := open(t)
			h.dying = true
			c.run(t, h)
		})
	}
}
