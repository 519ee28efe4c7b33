package prefectclient

import (
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

// breaker leaves a server alone for a moment once it has failed several
// requests in a row, and then lets one request at a time probe it.
//
// It counts connection errors, timeouts and what a proxy answers for a server
// that is away. Prefect's own answers, its 503 under SQLite's lock, 500 and 401
// included, come from a server that is alive and count as successes. What says
// nothing about the server, such as a credential that can't be read or the end
// of a caller's time, doesn't count: the server's other callers use it too.
type breaker struct {
	circuit *gobreaker.CircuitBreaker[answer]
	openFor time.Duration
}

// errNoVerdict marks attempts that say nothing about the server.
var errNoVerdict = errors.New("no verdict")

func newBreaker(failures int, openFor time.Duration, changed func(state string)) *breaker {
	return &breaker{openFor: openFor, circuit: gobreaker.NewCircuitBreaker[answer](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     openFor,
		ReadyToTrip: func(n gobreaker.Counts) bool { return int(n.ConsecutiveFailures) >= failures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNoVerdict) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			changed(to.String())
		},
	})}
}

// do runs one attempt, or refuses to.
func (b *breaker) do(op *operation, attempt func() (answer, *failure)) (answer, *failure) {
	var failed *failure
	got, err := b.circuit.Execute(func() (answer, error) {
		var got answer
		got, failed = attempt()
		switch {
		case failed == nil:
			return got, nil
		case failed.away:
			return got, failed.Error
		case failed.notSent || failed.Status == 0 || failed.Reason == ReasonCanceled:
			// Without an answer, and not away: a stale connection, or a caller
			// with less time than a server may take.
			return got, errNoVerdict
		}
		return got, nil
	})
	if failed == nil && err != nil {
		failed = &failure{notSent: true, Error: &Error{
			Op: op.name, Reason: ReasonUnavailable, Detail: "the server failed repeatedly and is left alone for a moment",
			RetryAfter: b.openFor, cause: err,
		}}
	}
	return got, failed
}
