package bench

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/kong-prefect/kong-prefect/test/kongside"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// job is what a load generator does: connections that run events, one after
// the other, for a time or until the tokens are used up.
type job struct {
	Socket      string
	Plugin      string
	Configs     []string // an instance of each; the events go to them in turn
	Connections int
	For         time.Duration
	Headers     int      // how many headers a request has beside Authorization
	Tokens      []string // bearer tokens, in turn
	Once        bool     // end when each token was used once
	Request     request  // what the plugin is told of it beside
	Bare        int      // instead of events: this many flights of 64 bytes there and back
}

// request is what Kong knows of all requests of a job. Empty fields are
// something usual.
type request struct {
	Method, UpstreamURI, Body string
	Identity                  string // what prefect-identity left, JSON
}

// result is what came of a job.
type result struct {
	Events  int
	Flights int
	Bodies  int // bodies that were read
	Exits   int // requests that the plugin refused
	Error   string
}

// load runs a job and gives the server's CPU time an event.
func (b *bench) load(generator *lines, s *server, j job) (cpu time.Duration, r result) {
	b.Helper()
	spent, r := b.drive(generator, s, j)
	require.Zero(b, r.Exits, "the plugin refused requests")
	require.Positive(b, r.Events)
	return spent / time.Duration(r.Events), r
}

// drive runs a job, whatever comes of it. Without connections it only starts
// the instances.
func (b *bench) drive(generator *lines, s *server, j job) (spent time.Duration, r result) {
	b.Helper()
	j.Socket = s.socket
	line, err := json.Marshal(j)
	require.NoError(b, err)
	generator.tell(line)
	require.Equal(b, "ready\n", string(generator.hear()))
	before := s.cpu()
	generator.tell([]byte("go"))
	answer := generator.hear()
	spent = s.cpu() - before
	require.NoError(b, json.Unmarshal(answer, &r))
	require.Empty(b, r.Error)
	return spent, r
}

// generateLoad is the load generator's main: one thread, as one of nginx's
// workers is.
func generateLoad() error {
	runtime.GOMAXPROCS(1)
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil // the test is over
		}
		var j job
		if err := json.Unmarshal(line, &j); err != nil {
			return err
		}
		workers, err := j.prepare()
		if err != nil {
			return err
		}
		fmt.Println("ready")
		if _, err := in.ReadBytes('\n'); err != nil {
			return nil
		}
		answer, err := json.Marshal(j.run(workers))
		if err != nil {
			return err
		}
		fmt.Println(string(answer))
	}
}

// worker is one connection; step runs one event, or reports false when there
// is none left.
type worker struct {
	step  func() (bool, error)
	close func() error
	result
}

func (j job) prepare() ([]*worker, error) {
	if j.Bare > 0 {
		return j.prepareEach(func(int) (*worker, error) { return j.bare() })
	}
	kong, err := newKong(j)
	if err != nil {
		return nil, err
	}
	c, err := kongside.Dial(j.Socket)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	for _, config := range j.Configs {
		id, err := c.Start(j.Plugin, []byte(config))
		if err != nil {
			return nil, err
		}
		kong.instances = append(kong.instances, id)
	}
	return j.prepareEach(kong.connection)
}

// prepareEach opens the connections and runs an event or a few on each, so
// that nothing is measured that happens only once.
func (j job) prepareEach(open func(i int) (*worker, error)) ([]*worker, error) {
	var workers []*worker
	for i := range j.Connections {
		w, err := open(i)
		if err != nil {
			return nil, err
		}
		for range max(3, len(j.Configs)/j.Connections) {
			if j.Once {
				break
			}
			if _, err := w.step(); err != nil {
				return nil, err
			}
		}
		w.result = result{}
		workers = append(workers, w)
	}
	return workers, nil
}

func (j job) run(workers []*worker) (sum result) {
	var wg sync.WaitGroup
	end := time.Now().Add(j.For)
	for _, w := range workers {
		wg.Go(func() {
			defer w.close() //nolint:errcheck // nothing is lost
			for j.Once || time.Now().Before(end) {
				more, err := w.step()
				if err != nil {
					w.Error = err.Error()
				}
				if err != nil || !more {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, w := range workers {
		sum.Events += w.Events
		sum.Flights += w.Flights
		sum.Bodies += w.Bodies
		sum.Exits += w.Exits
		if w.Error != "" {
			sum.Error = w.Error
		}
	}
	return sum
}

func (j job) bare() (*worker, error) {
	conn, err := net.Dial("unix", j.Socket)
	if err != nil {
		return nil, err
	}
	w := &worker{close: conn.Close}
	message := make([]byte, bareBytes)
	w.step = func() (bool, error) {
		for range j.Bare {
			if _, err := conn.Write(message); err != nil {
				return false, err
			}
			if _, err := io.ReadFull(conn, message); err != nil {
				return false, err
			}
		}
		w.Events++
		w.Flights += j.Bare
		return true, nil
	}
	return w, nil
}

// kong answers the calls of a plugin about requests that are all alike but for
// their token.
type kong struct {
	job       job
	instances []int32
	headers   [][]byte          // the answers to get_headers, one for each token
	answers   map[string][]byte // by method, or by method and arguments
	mu        sync.Mutex
	next      int
}

func newKong(j job) (*kong, error) {
	k := &kong{job: j, answers: map[string][]byte{}}
	if err := k.prepareAnswers(); err != nil {
		return nil, err
	}
	for _, token := range append(j.Tokens, "")[:max(1, len(j.Tokens))] {
		headers := map[string]any{"authorization": "Bearer " + token}
		for i := range j.Headers {
			headers[fmt.Sprintf("x-header-%d", i)] = "a value as headers have them"
		}
		table, err := structpb.NewStruct(headers)
		if err != nil {
			return nil, err
		}
		data, err := proto.Marshal(table)
		if err != nil {
			return nil, err
		}
		k.headers = append(k.headers, data)
	}
	return k, nil
}

const readBody = "kong.request.get_raw_body"

func (k *kong) prepareAnswers() error {
	text := func(s string) proto.Message { return &kong_plugin_protocol.String{V: s} }
	r := k.job.Request
	for _, a := range []struct {
		method, arg string
		answer      proto.Message
	}{
		{"kong.request.get_method", "", text(cmp.Or(r.Method, "GET"))},
		{"kong.request.get_path", "", text("/some/path")},
		{"kong.nginx.get_var", "", text("0123456789abcdef0123456789abcdef")},
		{"kong.nginx.get_var", "upstream_uri", text(r.UpstreamURI)},
		{"kong.ctx.shared.get", "", structpb.NewStringValue(r.Identity)},
		{readBody, "", &kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Content{Content: []byte(r.Body)}}},
	} {
		key := a.method
		if a.arg != "" {
			arg, err := proto.Marshal(text(a.arg))
			if err != nil {
				return err
			}
			key += string(arg)
		}
		var err error
		if k.answers[key], err = proto.Marshal(a.answer); err != nil {
			return err
		}
	}
	return nil
}

// answer is Kong's to one call.
func (k *kong) answer(method string, args []byte) []byte {
	if answer, ok := k.answers[method+string(args)]; ok {
		return answer
	}
	return k.answers[method]
}

// turn gives the number of the next event.
func (k *kong) turn() (int, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.job.Once && k.next == len(k.headers) {
		return 0, false
	}
	k.next++
	return k.next - 1, true
}

func (k *kong) connection(int) (*worker, error) {
	c, err := kongside.Dial(k.job.Socket)
	if err != nil {
		return nil, err
	}
	w := &worker{close: c.Close}
	w.step = func() (bool, error) {
		n, more := k.turn()
		if !more {
			return false, nil
		}
		ended, err := c.Event(k.instances[n%len(k.instances)], func(method string, args []byte) []byte {
			switch method {
			case "kong.request.get_headers":
				return k.headers[n%len(k.headers)]
			case readBody:
				w.Bodies++
			}
			return k.answer(method, args)
		})
		w.Events++
		w.Flights += ended.Flights
		if ended.Exited {
			w.Exits++
			return false, nil
		}
		return true, err
	}
	return w, nil
}
