package prefectclient

import (
	"context"
	"fmt"
)

const (
	// MaxListed bounds a list that is read whole.
	MaxListed = 10_000
	listPage  = 50
)

// Querier asks one of Prefect's reads that are POSTs; *[Client] is one.
type Querier interface {
	Query(ctx context.Context, path string, body, into any) error
}

// QueryAll reads a whole list, page by page; one of more than [MaxListed] is an
// error. The order must tell all apart: of equal ones PostgreSQL gives some
// twice and others on no page. Many deployments have one name; no two flows
// have.
func QueryAll[T any](ctx context.Context, q Querier, path, sort string, into *[]T) error {
	for offset := 0; ; offset += listPage {
		var page []T
		if err := q.Query(ctx, path, map[string]any{"offset": offset, "limit": listPage, "sort": sort}, &page); err != nil {
			return err
		}
		*into = append(*into, page...)
		if len(page) < listPage {
			return nil
		}
		if len(*into) >= MaxListed {
			return &Error{Op: "list deployments", Reason: ReasonResponseInvalid, Detail: fmt.Sprintf("more than %d at %s", MaxListed, path)}
		}
	}
}
