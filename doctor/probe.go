package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	requestTimeout   = 15 * time.Second
	maxAnswerBytes   = 1 << 20
	defaultPerSecond = 10
	maxPerSecond     = 1000
	defaultRequests  = 300
)

// errBudget says that no more requests may be sent.
var errBudget = errors.New("the limit of requests is reached")

// probe sends requests: slowly, a bounded number, following no redirect, and
// saying who it is.
type probe struct {
	gateway   *url.URL
	client    *http.Client
	tick      *time.Ticker
	max, sent int
	agent     string
}

func newProbe(gateway *url.URL, o Options) *probe {
	if o.PerSecond <= 0 {
		o.PerSecond = defaultPerSecond
	}
	o.PerSecond = min(o.PerSecond, maxPerSecond)
	if o.MaxRequests <= 0 {
		o.MaxRequests = defaultRequests
	}
	return &probe{
		gateway: gateway, max: o.MaxRequests, tick: time.NewTicker(time.Second / time.Duration(o.PerSecond)),
		agent: "kong-prefect-doctor/" + o.Version,
		client: &http.Client{
			Timeout: requestTimeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout: requestTimeout, DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (p *probe) close() {
	p.tick.Stop()
	p.client.CloseIdleConnections()
}

// question is one request. Its zero value is a GET of the gateway's root.
type question struct {
	base         *url.URL // default: the gateway
	method, path string   // the path as it is sent
	host         string
	header       map[string][]string // names go out as they are written
	token        string
	body         string
}

// answer is what came of it.
type answer struct {
	status        int
	header        http.Header
	body          []byte
	tls           *tls.ConnectionState
	toTLS         bool // the same address by https is what it says
	before, after time.Time
	err           error
}

// saysNothing tells why an answer shows nothing of our plugins; empty: it
// does.
func (a answer) saysNothing() string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.code() != "":
		return ""
	case a.toTLS:
		return "the gateway redirects to https; examine it there"
	case slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusUpgradeRequired}, a.status):
		return fmt.Sprintf("another plugin, or what is in front of Kong, answers first with %d", a.status)
	case a.status >= http.StatusInternalServerError:
		return fmt.Sprintf("the answer is %d", a.status)
	}
	return ""
}

// code is a refusal's of the plugins; empty: it is none of theirs.
func (a answer) code() string {
	var p struct{ Code string }
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") || json.Unmarshal(a.body, &p) != nil {
		return ""
	}
	return p.Code
}

// noRoute tells Kong's own answer for a request that no route takes.
func (a answer) noRoute() bool {
	return a.status == http.StatusNotFound && strings.Contains(string(a.body), "no Route matched")
}

func (p *probe) get(ctx context.Context, path string) answer { return p.ask(ctx, question{path: path}) }

func (p *probe) ask(ctx context.Context, q question) answer {
	if p.sent >= p.max {
		return answer{err: errBudget}
	}
	select {
	case <-ctx.Done():
		return answer{err: ctx.Err()}
	case <-p.tick.C:
	}
	p.sent++
	if q.base == nil {
		q.base = p.gateway
	}
	if q.method == "" {
		q.method = http.MethodGet
	}
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, q.base.String(), body)
	if err != nil {
		return answer{err: err}
	}
	path, query, _ := strings.Cut(q.path, "?")
	r.URL.Opaque, r.URL.RawQuery = q.base.EscapedPath()+path, query
	if q.host != "" {
		r.Host = q.host
	}
	r.Header.Set("User-Agent", p.agent)
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	for name, values := range q.header {
		r.Header[name] = values
	}
	a := answer{before: time.Now()}
	resp, err := p.client.Do(r)
	a.after = time.Now()
	if err != nil {
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err
		}
		a.err = err
		return a
	}
	defer func() { _ = resp.Body.Close() }()
	a.status, a.header, a.tls = resp.StatusCode, resp.Header, resp.TLS
	if to, err := resp.Location(); err == nil && q.base.Scheme == "http" {
		a.toTLS = to.Scheme == "https" && to.EscapedPath() == r.URL.Opaque
	}
	a.body, a.err = io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	return a
}
