package prefectclient

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// Request is what is about to be sent, without the credential.
type Request struct {
	Method, URL string
	Header      http.Header
	Body        []byte
	// Changes says that it may change something at the server.
	Changes bool
}

func (c *Client) withholds(op *operation) bool {
	if c.options.Withhold == nil {
		return false
	}
	return c.options.Withhold(Request{
		Method: op.method, URL: strings.TrimRight(c.base.String(), "/") + op.path,
		Header: op.header.Clone(), Body: op.body, Changes: !op.reads(),
	})
}

// reads tells whether an operation only asks. Most of Prefect's questions are
// POSTs, to these two kinds of path.
func (op *operation) reads() bool {
	asks := strings.HasSuffix(op.path, "/filter") || strings.HasSuffix(op.path, "/count")
	return op.method == http.MethodGet || op.method == http.MethodPost && asks
}

// unsent is what the server would answer to a create that was withheld, as far
// as that can be asked: with the run that has the key already.
func (c *Client) unsent(ctx context.Context, deploymentID uuid.UUID, run NewFlowRun, withheld *failure) (FlowRun, bool, error) {
	found, ok, err := c.FlowRunOfDeployment(ctx, deploymentID, run.IdempotencyKey)
	if err != nil || !ok {
		return FlowRun{}, false, withheld.Error
	}
	return ours(found, false, deploymentID, run)
}
