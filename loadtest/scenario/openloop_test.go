package scenario

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"millrace/loadtest/workload"
)

// Many writers make the changes of a row in their order, and forget rows that are
// done.
func TestChangesOfARowKeepTheirOrder(t *testing.T) {
	seed := rand.Uint64()
	g := workload.New(workload.Spec{
		Seed: seed, Tables: 2, Width: 4, Types: workload.Types, Zipf: 1.2, Transaction: 5,
		Mix: workload.Mix{Insert: 40, Update: 40, Delete: 10, Key: 10},
	})
	jobs := make(chan job, 100)
	var rows order
	var mu sync.Mutex
	there := map[int64]int32{} // the version of each row that is there
	write := func(_ context.Context, txs ...workload.Tx) error {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
		mu.Lock()
		defer mu.Unlock()
		for _, o := range txs[0] {
			was, is := there[o.Key]
			switch {
			case o.Kind == workload.Insert || o.Kind == workload.Key:
				if _, old := there[o.Old]; is || o.Kind == workload.Key && !old {
					t.Errorf("seed %d: %+v, and the row is there: %v, the old one: %v", seed, o, is, old)
				}
				delete(there, o.Old)
				there[o.Key] = o.Version
			case !is:
				t.Errorf("seed %d: %+v, and the row is not there", seed, o)
			case o.Kind == workload.Delete:
				delete(there, o.Key)
			default:
				if there[o.Key] = o.Version; o.Version != was+1 {
					t.Errorf("seed %d: %+v follows version %d", seed, o, was)
				}
			}
		}
		return nil
	}
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			for j := range jobs {
				if err := j.write(t.Context(), write); err != nil {
					t.Error(err)
				}
			}
		})
	}
	most := 0
	for range 8000 {
		jobs <- rows.next(g.Next(5, time.Time{}), time.Time{})
		most = max(most, len(rows.last))
	}
	close(jobs)
	done.Wait()
	if made := 8000 * 5; most > 12_000 || most < 1000 {
		t.Errorf("seed %d: of %d changes it remembers the rows of %d", seed, made, most)
	}
}

// A transaction whose predecessor never ends is given up with the run.
func TestWaitForARowEndsWithTheRun(t *testing.T) {
	var rows order
	tx := workload.Tx{{Kind: workload.Update, Key: 1}}
	rows.next(tx, time.Time{})
	j := rows.next(tx, time.Time{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := j.write(ctx, func(context.Context, ...workload.Tx) error {
		t.Error("it is written")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	<-j.done
}
