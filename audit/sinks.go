package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// WriterSink writes one record a line.
type WriterSink struct {
	Writer io.Writer
	Format Format
}

// Send writes all records at once.
func (s WriterSink) Send(_ context.Context, records []Record) error {
	var lines bytes.Buffer
	for _, r := range records {
		line, err := s.Format(r)
		if err != nil {
			return err
		}
		lines.Write(line)
		lines.WriteByte('\n')
	}
	_, err := s.Writer.Write(lines.Bytes())
	return err
}

// maxAnswerBytes bounds what is read of a collector's answer.
const maxAnswerBytes = 64 << 10

// HTTPSink posts batches of CloudEvents 1.0 (HTTP protocol binding, section
// 3.3, batched content mode), or arrays of another format.
type HTTPSink struct {
	URL string
	// Format is of one element; nil makes CloudEvents.
	Format Format
	// AuthorizationFile holds the Authorization header's value; it is read for
	// each batch, so it may change.
	AuthorizationFile string
	Client            *http.Client
}

// cloudEvent is one record as a CloudEvent.
type cloudEvent struct {
	SpecVersion     string `json:"specversion"`
	ID              string `json:"id"`
	Source          string `json:"source"`
	Type            string `json:"type"`
	Time            string `json:"time"`
	Subject         string `json:"subject,omitempty"`
	DataContentType string `json:"datacontenttype"`
	Data            Record `json:"data"`
}

// Send posts one batch; any answer but 2xx is an error.
func (s *HTTPSink) Send(ctx context.Context, records []Record) error {
	elements, contentType, err := s.elements(records)
	if err != nil {
		return err
	}
	body, err := json.Marshal(elements)
	if err != nil {
		return err
	}
	return postBatch(ctx, s.Client, s.URL, s.AuthorizationFile, contentType, body)
}

func (s *HTTPSink) elements(records []Record) (elements []any, contentType string, err error) {
	for _, r := range records {
		if s.Format != nil {
			element, err := s.Format(r)
			if err != nil {
				return nil, "", err
			}
			elements = append(elements, json.RawMessage(element))
			continue
		}
		elements = append(elements, cloudEvent{
			SpecVersion: "1.0", ID: r.Node + "/" + decimal(r.Seq), Source: "/" + product + "/" + url.PathEscape(r.Node),
			Type: "com.github." + product + "." + string(r.Type), Time: r.Time.Format("2006-01-02T15:04:05.999999999Z07:00"),
			Subject: r.RunID, DataContentType: "application/json", Data: r,
		})
	}
	if s.Format != nil {
		return elements, "application/json", nil
	}
	return elements, "application/cloudevents-batch+json", nil
}

// postBatch posts and wants 2xx.
func postBatch(ctx context.Context, client *http.Client, address, authorizationFile, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	if authorizationFile != "" {
		value, err := smallfile.Secret(authorizationFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", strings.TrimSpace(value))
	}
	if client == nil {
		client = noRedirects
	}
	resp, err := client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswerBytes))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", resp.Status)
	}
	return nil
}

// noRedirects: an Authorization header goes where it was meant to, and nowhere
// else.
var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// withoutURL keeps an address, which may hold a token, out of the log.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
