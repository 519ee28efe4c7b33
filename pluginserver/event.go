package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrEventOver says that the event was answered already: by an exit, or by
// the server because the handler took too long.
var ErrEventOver = errors.New("event is over")

// errUnexpectedReply says that Kong answered a call that has no answer: the
// two ends disagree about what was asked, so nothing after it can be trusted.
var errUnexpectedReply = errors.New("kong answered a call that has no answer")

// Event is one phase of one request, as a handler sees it. Its methods may be
// called until the handler returns, from one goroutine.
//
// The methods that set something cost nothing at once: they are queued and
// sent together, with the end of the event or with the next question.
type Event struct {
	// Phase is Kong's name of the phase, "access" for instance.
	Phase string

	link  *link
	reads []Read
	reply []reply // of reads, in their order

	// mu guards what follows: the watchdog of [Server] may end an event
	// while its handler still runs.
	mu     sync.Mutex
	queued int // calls in link.out or on their way whose empty answer is not yet read
	over   bool
}

type reply struct {
	data []byte
	err  error
}

// Read is a question to Kong that a plugin always needs. It is encoded once
// and asked for, together with the plugin's other reads, before its handler
// is called.
type Read struct {
	key    string
	method string
	frames []byte
}

func newRead(key, method string, args []byte) Read {
	frames := appendFrame(nil, method)
	return Read{key: key, method: method, frames: appendFrame(frames, args)}
}

// ask sends the questions, and what is queued before them, in one write, and
// reads the answers.
func (e *Event) ask(ctx context.Context, reads []Read, to []reply) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return ErrEventOver
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range reads {
		e.link.out = append(e.link.out, r.frames...)
	}
	if err := e.link.flush(); err != nil {
		return err
	}
	if err := e.link.drain(e.queued); err != nil {
		return err
	}
	e.queued = 0
	for i := range reads {
		data, err := e.link.in.next()
		if err != nil && !errors.Is(err, ErrFrameTooLarge) {
			return fmt.Errorf("reading the answer to %s: %w", reads[i].method, err)
		}
		to[i] = reply{data: data, err: err}
	}
	return nil
}

// answer finds the reply of a declared read, or asks for it now.
func (e *Event) answer(ctx context.Context, r Read) ([]byte, error) {
	for i := range e.reads {
		if e.reads[i].key == r.key {
			return e.reply[i].data, e.reply[i].err
		}
	}
	var one [1]reply
	if err := e.ask(ctx, []Read{r}, one[:]); err != nil {
		return nil, err
	}
	return one[0].data, one[0].err
}

// Prefetch asks for what only some requests need, in one flight; what was read
// before isn't asked for again. The getters then have it.
func (e *Event) Prefetch(ctx context.Context, reads ...Read) error {
	var missing []Read
	for _, r := range reads {
		if !slices.ContainsFunc(e.reads, func(have Read) bool { return have.key == r.key }) {
			missing = append(missing, r)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	replies := make([]reply, len(missing))
	if err := e.ask(ctx, missing, replies); err != nil {
		return err
	}
	// Clipped: the declared reads are shared by all events of the plugin.
	e.reads = append(slices.Clip(e.reads), missing...)
	e.reply = append(slices.Clip(e.reply), replies...)
	return nil
}

// queue adds a call whose answer is empty.
func (e *Event) queue(method string, args func([]byte) []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	e.link.call(method, args)
	e.queued++
}

// exit ends the request with an answer. Kong closes the connection instead of
// answering, so nothing may follow: should Kong ever not honour the exit, it
// waits for the end of the event in vain and refuses the request.
func (e *Event) exit(status int, body []byte, headers []Header) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	e.over = true
	e.link.exited = true
	e.link.call("kong.response.exit", func(b []byte) []byte {
		return appendExitArgs(b, status, body, headers)
	})
}

// discard forgets what is queued and was not sent: a handler that failed half
// way must leave no half of its work on the request.
func (e *Event) discard() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over || len(e.link.out) == 0 {
		return
	}
	// What is in out was never sent, and flush empties it whole: every
	// queued call still counted is in there.
	e.link.out = e.link.out[:0]
	e.queued = 0
}

// Exited reports whether the request was answered by [Event.Exit].
func (e *Event) Exited() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.over
}
