package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	callLimit      = 60 * time.Second
	maxAnswerBytes = 1 << 20
)

// call is one request to the gateway.
type call struct {
	route, body    string
	bearer, token  string // who the token is of, and the token, which is never shown
	idempotencyKey string
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// String is for messages about an answer that was not expected.
func (a answer) String() string { return fmt.Sprintf("%d %.1000s", a.status, a.body) }

// send makes the call and shows it as a curl command, with the answer's status.
func (d *demo) send(ctx context.Context, c call) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.gateway.URL()+c.route, strings.NewReader(c.body))
	if err != nil {
		return a, err
	}
	shown := "curl --json '" + c.body + "' " + req.URL.String()
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
		shown += " -H 'Authorization: Bearer <token of " + c.bearer + ">'"
	}
	if c.idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", c.idempotencyKey)
		shown += " -H 'Idempotency-Key: " + c.idempotencyKey + "'"
	}
	d.out.command(shown)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes)); err != nil {
		return a, err
	}
	a.status, a.header = resp.StatusCode, resp.Header
	d.out.status(resp.Status, a.status)
	return a, nil
}
