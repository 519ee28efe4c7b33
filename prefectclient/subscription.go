package prefectclient

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/uuid"
)

const (
	// eventPrefix begins the events of flow runs, and runPrefix the id of the
	// resource that they are about.
	eventPrefix = "prefect.flow-run."
	runPrefix   = "prefect.flow-run."

	openTimeout   = 10 * time.Second
	pingEvery     = 20 * time.Second
	maxEventBytes = 1 << 20
	maxReconnect  = 30 * time.Second
	// farAway is the end of the subscription's time: Prefect's default is
	// the moment of subscribing, and no event would come.
	farAway = 10 * 365 * 24 * time.Hour
)

// subscribe holds the one subscription, and opens it again whenever it ends.
func (w *Watcher) subscribe(ctx context.Context) {
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: w.options.Client.options.MinBackoff, MaxInterval: maxReconnect, Multiplier: 2, RandomizationFactor: 0.5,
	}
	said := ""
	for ctx.Err() == nil {
		lived, err := w.subscription(ctx)
		if lived {
			pauses.Reset()
			said = ""
		}
		if ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != said {
			said = text
			w.log.Warn("prefect's events can't be had, runs are polled", "error", err)
		}
		pause(ctx, pauses.NextBackOff())
	}
}

// subscription is one life of the subscription; lived says that it was
// accepted. The error is never nil.
func (w *Watcher) subscription(ctx context.Context) (lived bool, err error) {
	conn, err := w.open(ctx)
	if err != nil {
		return false, err
	}
	defer conn.CloseNow() //nolint:errcheck // it is over in any case
	w.begun()
	defer w.ended()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pinging := make(chan struct{})
	go func() {
		defer close(pinging)
		cancel(keepAlive(ctx, conn))
	}()
	defer func() { cancel(nil); <-pinging }()
	for {
		var frame eventFrame
		if err := wsjson.Read(ctx, conn, &frame); err != nil {
			return true, err
		}
		if id, ok := frame.endedRun(); ok {
			w.pollSoon(id) // the event may be faster than the server's commit
			w.mu.Lock()
			w.markDirty(id)
			w.mu.Unlock()
		}
	}
}

// begun notes that events arrive. Every run is read now: what happened before
// is told by no event. The server doesn't say when its subscription is in
// force, so a poll follows.
func (w *Watcher) begun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live++
	soon := time.Now().Add(w.options.FirstPoll)
	for id, run := range w.runs {
		run.nextPoll = soon
		w.markDirty(id)
	}
}

func (w *Watcher) ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live--
}

// eventFrame is what the server sends, the part that matters.
type eventFrame struct {
	Type  string `json:"type"`
	Event struct {
		Event    string            `json:"event"`
		Resource map[string]string `json:"resource"`
	} `json:"event"`
}

// endedRun reads which run an event says has ended.
func (f *eventFrame) endedRun() (uuid.UUID, bool) {
	if f.Type != "event" || !strings.HasPrefix(f.Event.Event, eventPrefix) {
		return uuid.Nil, false
	}
	text, ok := strings.CutPrefix(f.Event.Resource["prefect.resource.id"], runPrefix)
	id, err := uuid.Parse(text)
	return id, ok && err == nil
}

// open connects, signs in and subscribes. The credential goes into the first
// frame, where Prefect looks for it, and into the upgrade's header for what
// stands before it.
func (w *Watcher) open(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	client := w.client()
	authorization, f := client.authorization(ctx, &operation{name: "subscribe to events"})
	if f != nil {
		return nil, f.Error
	}
	header := http.Header{"User-Agent": {client.options.UserAgent}}
	if authorization != "" {
		header.Set("Authorization", authorization)
	}
	conn, response, err := websocket.Dial(ctx, client.eventsURL(), &websocket.DialOptions{
		HTTPClient: client.http, HTTPHeader: header, Subprotocols: []string{"prefect"},
	})
	if err != nil {
		if response != nil && response.StatusCode == http.StatusUnauthorized {
			client.rejected(ctx, authorization)
		}
		return nil, withoutURL(err)
	}
	conn.SetReadLimit(maxEventBytes)
	if err := client.signIn(ctx, conn, authorization); err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	return conn, nil
}

func (c *Client) signIn(ctx context.Context, conn *websocket.Conn, authorization string) error {
	if err := wsjson.Write(ctx, conn, map[string]any{"type": "auth", "token": tokenOf(authorization)}); err != nil {
		return err
	}
	var answer struct {
		Type string `json:"type"`
	}
	if err := wsjson.Read(ctx, conn, &answer); err != nil {
		if websocket.CloseStatus(err) == websocket.StatusPolicyViolation {
			c.rejected(ctx, authorization)
			return errors.New("the server refused the credential")
		}
		return err
	}
	if answer.Type != "auth_success" {
		return fmt.Errorf("the server answered %q to the credential", clean(answer.Type))
	}
	now := time.Now().UTC()
	return wsjson.Write(ctx, conn, map[string]any{
		"type": "filter", "backfill": false,
		"filter": map[string]any{
			"occurred": map[string]any{"since": now.Add(-time.Hour), "until": now.Add(farAway)},
			"event":    map[string]any{"prefix": []string{eventPrefix}},
			"resource": map[string]any{"labels": map[string]any{"prefect.state-type": finalStates}},
		},
	})
}

// rejected has the credentials switch, or be read again.
func (c *Client) rejected(ctx context.Context, authorization string) {
	if authorization != "" && c.options.Credentials.Rejected(ctx, authorization) {
		c.switched("subscribe to events", authorization)
	}
}

// tokenOf is the secret as the first frame wants it; nil: none.
func tokenOf(authorization string) any {
	scheme, secret, _ := strings.Cut(authorization, " ")
	if scheme == "Basic" {
		if plain, err := base64.StdEncoding.DecodeString(secret); err == nil {
			return string(plain)
		}
	}
	if secret == "" {
		return nil
	}
	return secret
}

func (c *Client) eventsURL() string {
	address := *c.base
	address.Scheme = strings.Replace(address.Scheme, "http", "ws", 1)
	return strings.TrimRight(address.String(), "/") + "/events/out"
}

// keepAlive finds out that the other side is gone, which silence doesn't tell.
func keepAlive(ctx context.Context, conn *websocket.Conn) error {
	for pause(ctx, pingEvery) {
		timely, cancel := context.WithTimeout(ctx, openTimeout)
		err := conn.Ping(timely)
		cancel()
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
