package guard_test

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestWebPages opens Prefect's own web pages in a real browser, with the token in a cookie as a sign-in in front of
// the gateway leaves it there, and starts a run from them.
func TestWebPages(t *testing.T) {
	s := parts(t)
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		t.Skip("THE WEB PAGES ARE NOT TESTED: there is no Chromium here (on Debian: apt-get install chromium)")
	}
	var flow, deployment struct {
		ID string `json:"id"`
	}
	require.NoError(t, s.open.Post(t.Context(), "/flows/", map[string]any{"name": "by-hand"}, &flow))
	require.NoError(t, s.open.Post(t.Context(), "/deployments/", map[string]any{"name": "page", "flow_id": flow.ID,
		"parameter_openapi_schema": map[string]any{"type": "object", "properties": map[string]any{}},
	}, &deployment))

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1400, 1000))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()

	var mu sync.Mutex
	refused, answered := []string{}, 0
	chromedp.ListenTarget(ctx, func(event any) {
		answer, ok := event.(*network.EventResponseReceived)
		if !ok || !strings.Contains(answer.Response.URL, "/api/") {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		answered++
		// A server without CSRF protection answers 422 to /csrf-token, and the pages expect it.
		if status := answer.Response.Status; status == 401 || status == 403 {
			refused = append(refused, answer.Response.URL)
		}
	})
	require.NoError(t, chromedp.Run(ctx, network.Enable(),
		network.SetCookie("prefect-token", s.token(t, "svc-owner")).WithURL(s.front.URL())))
	for path, shows := range map[string]string{
		"/dashboard": "Dashboard", "/runs": "Runs", "/flows": "by-hand", "/deployments": "page", "/work-pools": "Work Pools",
		"/variables": "Variables", "/automations": "Automations", "/blocks": "Blocks", "/concurrency-limits": "Concurrency",
	} {
		var text string
		require.NoError(t, chromedp.Run(ctx, chromedp.Navigate(s.front.URL()+path)), path)
		require.Eventually(t, func() bool {
			return chromedp.Run(ctx, chromedp.Text("body", &text, chromedp.ByQuery)) == nil && strings.Contains(text, shows)
		}, 20*time.Second, 200*time.Millisecond, "%s shows %q", path, &text)
	}
	require.NoError(t, chromedp.Run(ctx, chromedp.Navigate(s.front.URL()+"/deployments/deployment/"+deployment.ID)))
	for _, label := range []string{"Run", "Quick run"} {
		require.Eventually(t, func() bool {
			clicked := false
			err := chromedp.Run(ctx, chromedp.Evaluate(`(() => {
				for (const e of document.querySelectorAll("button, [role=menuitem], .p-overflow-menu-item"))
					if (e.textContent.trim() === "`+label+`" && e.offsetParent) { e.click(); return true }
				return false
			})()`, &clicked))
			return err == nil && clicked
		}, 20*time.Second, 200*time.Millisecond, "no %q to click", label)
	}
	require.Eventually(t, func() bool {
		runs, err := s.open.RunsOf(t.Context(), deployment.ID)
		return err == nil && len(runs) == 1 && runs[0].CreatedBy != nil && runs[0].CreatedBy.DisplayValue == "svc-owner"
	}, 20*time.Second, 200*time.Millisecond, "a run, stamped with who clicked")
	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, refused, "an owner's pages are refused nothing")
	require.Greater(t, answered, 20)
}
