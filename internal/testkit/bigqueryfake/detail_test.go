package bigqueryfake_test

import (
	"errors"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/status"
)

// storageDetail is the detail of an error of the write path, as an error.
type storageDetail struct{ *storagepb.StorageError }

func (e *storageDetail) Error() string { return e.GetErrorMessage() }

// detail is the detail of an error, or nil.
func detail(err error) error {
	var with interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &with) {
		return nil
	}
	for _, d := range with.GRPCStatus().Details() {
		if e, ok := d.(*storagepb.StorageError); ok {
			return &storageDetail{e}
		}
	}
	return nil
}
