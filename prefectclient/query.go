package prefectclient

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
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
// empty where it wants none. It is for who passes requests on to the server
// and doesn't tell what became of them: so while two secrets are valid, the
// server itself is asked now and then which of them it takes.
func (c *Client) Authorization(ctx context.Context) (string, error) {
	if two, ok := c.options.Credentials.(interface{ rotates() bool }); ok && two.rotates() && c.refused.askAgain(time.Now()) {
		c.askWhich(ctx)
	}
	value, f := c.authorization(ctx, &operation{name: "authorize"})
	if f != nil {
		return "", f.Error
	}
	return value, nil
}

const (
	// askWhichEvery is how often it is asked, and so how long the secret that
	// the server took before may be passed on.
	askWhichEvery = 2 * time.Second
	// askWhichLimit is how long one request waits for that.
	askWhichLimit = time.Second
	askWhichName  = "check credential"
)

// askWhich has the credentials switch where the server refuses the one in use.
// That it can't be asked changes nothing.
func (c *Client) askWhich(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askWhichLimit)
	defer cancel()
	_ = c.call(ctx, &operation{
		name: askWhichName, method: http.MethodGet, path: "/admin/version", notFound: ReasonNotFound,
		decode: func([]byte) error { return nil },
	})
}
