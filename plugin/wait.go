package plugin

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

const (
	// maxWaiters bounds the answers that wait in this process; more are given
	// at once. Each holds a request of Kong's open.
	maxWaiters = 1000
	// beforeDeadline is the time that an answer needs to get out.
	beforeDeadline = 2 * time.Second
	// statusRetryAfter is when a caller whose wait was too short should look.
	statusRetryAfter = 5 * time.Second
)

// answerInTime answers with the run that Prefect has. Where the route or the
// caller wants to wait, it is the run in its final state, or 202 and the link
// to its status when time ran out.
func (h *trigger) answerInTime(ctx context.Context, o order, deployment string, run prefectclient.FlowRun, created bool) (*reply, *Problem) {
	wait, asked := h.wait(o.prefer)
	if wait <= 0 {
		return h.answer(o, deployment, run, created)
	}
	run, ended := h.await(ctx, wait, run)
	s, problem := h.answer(o, deployment, run, created)
	if problem != nil {
		return nil, problem
	}
	if asked {
		s.headers = append(s.headers, header("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second))))
	}
	if !ended {
		s.status = http.StatusAccepted
		s.headers = append(s.headers, header("Retry-After", strconv.Itoa(int(statusRetryAfter/time.Second))))
	}
	return s, nil
}

// await returns the run in its final state, or as it was.
func (h *trigger) await(ctx context.Context, wait time.Duration, run prefectclient.FlowRun) (prefectclient.FlowRun, bool) {
	if run.State.Final() {
		return run, true
	}
	p := h.process
	if p.waiters.Add(1) > maxWaiters {
		p.waiters.Add(-1)
		return run, false
	}
	defer p.waiters.Add(-1)
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)-beforeDeadline)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	runs, err := p.watcher(h.config.Prefect.APIURL)
	if err != nil {
		return run, false
	}
	defer trailOf(ctx).step(StageWait, time.Now())
	ended, err := runs.Wait(ctx, run.ID)
	if err != nil {
		return run, false
	}
	return ended, true
}

// wait is how long to wait, and whether the caller said so.
func (h *trigger) wait(prefer []string) (wait time.Duration, asked bool) {
	seconds, asked := preferredWait(prefer)
	if !asked {
		return time.Duration(h.config.Wait.DefaultSeconds) * time.Second, false
	}
	return time.Duration(min(seconds, h.config.Wait.MaxSeconds)) * time.Second, true
}

// preferredWait reads the preferences wait=N and respond-async (RFC 7240,
// sections 4.1 and 4.3). Of a preference that comes twice the first counts,
// and one that can't be read is as if it were absent (section 2).
func preferredWait(values []string) (seconds int, asked bool) {
	for preference := range strings.SplitSeq(strings.Join(values, ","), ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "respond-async":
			return 0, true
		case "wait":
			n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err == nil {
				return int(n), true
			}
		}
	}
	return 0, false
}
