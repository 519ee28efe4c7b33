package stamp_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var screenshots = flag.String("screenshots", "", "write screenshots of Prefect's UI into this folder")

// signedIn is Prefect's UI as somebody sees it who has signed in: the credential is added on the way.
func signedIn(t *testing.T) string {
	t.Helper()
	prefect, err := url.Parse(s.Prefect.URL())
	require.NoError(t, err)
	var own string
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(prefect)
			r.Out.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(s.Prefect.AuthString())))
			r.Out.Header.Del("Accept-Encoding")
		},
		// The UI learns from here where its API is, and whether to ask for the credential.
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Path != "/ui-settings" {
				return nil
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			body = bytes.ReplaceAll(body, []byte(s.Prefect.URL()), []byte(own))
			body = bytes.ReplaceAll(body, []byte(`"auth":"BASIC"`), []byte(`"auth":null`))
			r.Body = io.NopCloser(bytes.NewReader(body))
			r.ContentLength = int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	own = server.URL
	return own
}

// TestScreenshots takes the picture of docs/stamp.md: `make screenshots`.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("make screenshots takes them")
	}
	chromium, err := exec.LookPath("chromium")
	require.NoError(t, err, "apt-get install chromium")
	ui := signedIn(t)
	first := trigger(t, "alice", "/run/first", map[string]any{"onward": [][]string{{"svc-flows", "/run/second"}}}, nil)
	second := requireLine(t, ended(t, first, "COMPLETED"), "/run/second started ")
	ended(t, second, "COMPLETED")
	for name, page := range map[string]string{
		"created-by.png": "/runs/flow-run/" + second + "?tab=Details",
	} {
		path, err := filepath.Abs(filepath.Join(*screenshots, name))
		require.NoError(t, err)
		out, err := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
			"--user-data-dir="+t.TempDir(), "--window-size=1400,900", "--timeout=20000", "--virtual-time-budget=15000",
			"--screenshot="+path, ui+page).CombinedOutput()
		require.NoError(t, err, "%s", out)
		info, err := os.Stat(path)
		require.NoError(t, err, "%s", strings.TrimSpace(string(out)))
		require.Greater(t, info.Size(), int64(20_000), "an empty page")
	}
}
