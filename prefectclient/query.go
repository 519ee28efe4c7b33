package prefectclient

import (
	"context"
	"encoding/json"
	"net/http"
)

// Query asks one of Prefect's reads that are POSTs, such as
// /flow_runs/filter. It changes nothing, so it is repeated as reads are.
func (c *Client) Query(ctx context.Context, path string, body, into any) error {
	const name = "query"
	data, err := json.Marshal(body)
	if err != nil {
		return &Error{Op: name, Reason: ReasonRequestInvalid, cause: err}
	}
	return c.call(ctx, &operation{
		name: name, method: http.MethodPost, path: path, body: data, notFound: ReasonNotFound,
		decode: func(answer []byte) error { return decode(answer, into) },
	})
}

// Authorization is the header's value with which the server takes a request,
// empty where it wants none. It is for who passes requests on to the server.
func (c *Client) Authorization(ctx context.Context) (string, error) {
	value, f := c.authorization(ctx, &operation{name: "authorize"})
	if f != nil {
		return "", f.Error
	}
	return value, nil
}
