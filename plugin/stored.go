package plugin

import (
	"time"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// Stored is a run of Prefect's, to be examined.
func Stored(run prefectclient.FlowRun, now time.Time) stamp.Stored {
	s := stamp.Stored{
		FlowID: run.FlowID, DeploymentID: run.DeploymentID, IdempotencyKey: run.IdempotencyKey,
		Parameters: run.Parameters, Context: run.Context, Tags: run.Tags, Labels: run.Labels, At: now,
	}
	if by := run.CreatedBy; by != nil {
		s.CreatedBy = &stamp.CreatedBy{ID: by.ID, DisplayValue: by.DisplayValue}
	}
	// Prefect sets both times itself.
	if run.State.Final() && run.Created != nil {
		s.At = *run.Created
		if run.StartTime != nil && run.StartTime.After(s.At) {
			s.At = *run.StartTime
		}
	}
	return s
}
