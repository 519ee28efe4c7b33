package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// Limits of a question to Kong's Admin API.
const (
	adminTimeout  = 2 * time.Second
	adminMaxBytes = 64 << 10
)

var adminClient = &http.Client{
	Timeout: adminTimeout,
	// An Admin API redirects nobody.
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// consumerByCustomID asks Kong's Admin API, since its plugins can't be asked:
// kong.client.load_consumer never looks at custom_id.
// Source: Kong's Admin API, "List all consumers", custom_id.
func consumerByCustomID(ctx context.Context, adminURL, customID string) (c pluginserver.Consumer, found bool, err error) {
	address := strings.TrimSuffix(adminURL, "/") + "/consumers?custom_id=" + url.QueryEscape(customID)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return c, false, err
	}
	resp, err := adminClient.Do(req)
	if err != nil {
		return c, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return c, false, fmt.Errorf("kong's admin API answers %s", resp.Status)
	}
	var list struct {
		Data []struct {
			ID       string `json:"id"`
			Username string `json:"username"`
			CustomID string `json:"custom_id"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, adminMaxBytes)).Decode(&list); err != nil {
		return c, false, errors.New("kong's admin API answers no list of consumers")
	}
	for _, one := range list.Data {
		if one.CustomID == customID && one.ID != "" { // an Admin API that can't filter lists them all
			return pluginserver.Consumer{ID: one.ID, Username: one.Username, CustomID: one.CustomID}, true, nil
		}
	}
	return c, false, nil
}
