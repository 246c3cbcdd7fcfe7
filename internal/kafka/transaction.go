package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// EndTransaction ends the open transaction of a client. To commit, all its
// records must have been acknowledged; an abort gives up those that are not. It
// must be called in place of the client's own method.
//
// A client takes a partition for a part of the transaction only once it has
// stored what it learned of the topic. The first records of a topic can be
// acknowledged before that, and if it knows of no other partition, its own
// method aborts the transaction, or leaves it open, and returns nil (G1).
func EndTransaction(ctx context.Context, cl *kgo.Client, end kgo.TransactionEndTry) error {
	// This waits for the lock under which topics are stored.
	if err := cl.AbortBufferedRecords(ctx); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, end) //nolint:forbidigo // the topics are stored
}
