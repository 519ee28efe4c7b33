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

// phaseAccess is Kong's name of the phase in which the plugins run.
const phaseAccess = "access"

// Event is one phase of one request, as a handler sees it. Its methods may be
// called until the handler returns, from one goroutine.
//
// The methods that set something cost nothing at once: they are queued and
// sent together, with the end of the event or with the next question. One that
// is given what Kong can't be told refuses the whole request when the handler
// returns: a header that silently stays away could be the one that counts.
type Event struct {
	// Phase is Kong's name of the phase, "access" for instance.
	Phase string

	link   *link
	plugin *Plugin
	ctx    eventContext // the handler's
	first  []reply      // of the plugin's declared reads
	reads  []Read
	reply  []reply // of reads, in their order

	// mu guards what follows: the watchdog of [Server] may end an event
	// while its handler still runs.
	mu     sync.Mutex
	queued int   // calls in link.out or on their way whose empty answer is not yet read
	failed error // why the request must be refused whatever the handler says
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
	method string
	name   string // of what is asked for, where the method asks by name
	frames []byte
}

func newRead(method, name string, args []byte) Read {
	frames := appendFrame(nil, method)
	return Read{method: method, name: name, frames: appendFrame(frames, args)}
}

func newNamedRead(method, name string) Read {
	return newRead(method, name, appendStringField(nil, 1, name))
}

// ask sends the questions, and what is queued before them, in one write, and
// reads the answers.
func (e *Event) ask(ctx context.Context, reads []Read, to []reply) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return ErrEventOver
	}
	if e.failed != nil {
		return e.failed
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
		e.failed = err
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
	if declared, ok := e.declared(r.method, r.name); ok {
		return declared.data, declared.err
	}
	var one [1]reply
	if err := e.ask(ctx, []Read{r}, one[:]); err != nil {
		return nil, err
	}
	return one[0].data, one[0].err
}

// answerNamed spares the making of a read that was declared.
func (e *Event) answerNamed(ctx context.Context, method, name string) ([]byte, error) {
	if declared, ok := e.declared(method, name); ok {
		return declared.data, declared.err
	}
	return e.answer(ctx, newNamedRead(method, name))
}

func (e *Event) declared(method, name string) (reply, bool) {
	for i := range e.reads {
		if e.reads[i].method == method && e.reads[i].name == name {
			return e.reply[i], true
		}
	}
	return reply{}, false
}

// varRequestID is nginx's variable with Kong's id of the request.
const varRequestID = "kong_request_id"

// requestID is Kong's, where the plugin declares that read: for the log, at
// any time and from any goroutine.
func (e *Event) requestID() string {
	for i, r := range e.plugin.Reads {
		if r.method == methodVar && r.name == varRequestID && e.first[i].err == nil {
			if id, err := decodeString(e.first[i].data); err == nil && id != "" {
				return id
			}
		}
	}
	return "unknown"
}

// Prefetch asks for what only some requests need, in one flight; what was read
// before isn't asked for again. The getters then have it.
func (e *Event) Prefetch(ctx context.Context, reads ...Read) error {
	var missing []Read
	for _, r := range reads {
		if _, have := e.declared(r.method, r.name); !have {
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

// queue adds a call whose answer is empty, unless its arguments are faulty.
func (e *Event) queue(method string, faulty error, args func([]byte) []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over && e.put(method, faulty, args) {
		e.queued++
	}
}

// put appends a call to what is sent next, or fails the event.
func (e *Event) put(method string, faulty error, args func([]byte) []byte) bool {
	before := len(e.link.out)
	if faulty == nil {
		e.link.call(method, args)
		if len(e.link.out)-before > MaxFrameBytes {
			faulty = fmt.Errorf("%w: more than %d bytes", errArgument, MaxFrameBytes)
		}
	}
	if faulty == nil {
		return true
	}
	e.link.out = e.link.out[:before]
	if e.failed == nil {
		e.failed = fmt.Errorf("%s: %w", method, faulty)
	}
	return false
}

// exit ends the request with an answer. Kong closes the connection instead of
// answering, so nothing may follow: should Kong ever not honour the exit, it
// waits for the end of the event in vain and refuses the request.
func (e *Event) exit(a Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over || !e.put("kong.response.exit", checkAnswer(a), func(b []byte) []byte {
		return appendExitArgs(b, a.Status, a.Body, a.Headers)
	}) {
		return
	}
	e.over = true
	e.link.exited = true
}

// failure is why the request must be refused, where the handler didn't refuse
// it by itself.
func (e *Event) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return nil
	}
	return e.failed
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
