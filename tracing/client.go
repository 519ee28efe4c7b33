package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// maxAnswerBytes bounds what is read of a collector's answer.
const maxAnswerBytes = 64 << 10

// client posts spans to a collector, by OTLP over HTTP as protobuf. It is an
// otlptrace.Client; OpenTelemetry's own brings gRPC along: three megabytes of
// the binary, and more of every node's memory even where there are no traces.
type client struct {
	url               string
	authorizationFile string
	http              http.Client
}

// newClient follows no redirect: the credential would travel with it.
func newClient(url, authorizationFile string) *client {
	return &client{url: url, authorizationFile: authorizationFile, http: http.Client{
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Start has nothing to start.
func (*client) Start(context.Context) error { return nil }

// Stop closes idle connections.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces posts one batch, once: spans that can't be sent are lost.
func (c *client) UploadTraces(ctx context.Context, spans []*otlp.ResourceSpans) error {
	// TracesData has the wire form of the collector's ExportTraceServiceRequest.
	body, err := proto.Marshal(&otlp.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if c.authorizationFile != "" {
		value, err := smallfile.Secret(c.authorizationFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", strings.TrimSpace(value))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var inURL *url.Error
		if errors.As(err, &inURL) {
			return inURL.Err // without the address
		}
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswerBytes))
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("the collector answers %s", resp.Status)
	}
	return err
}
