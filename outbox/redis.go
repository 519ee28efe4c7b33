package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// redisTimeout bounds one question to the server.
const redisTimeout = 5 * time.Second

// RedisOptions configures [OpenRedis].
type RedisOptions struct {
	// URL of the server: redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// for
	// TLS. Required.
	URL string
	// Prefix begins every key. Default: "kong-prefect:outbox". All keys are in
	// one slot of a cluster.
	Prefix string
	Limits
}

// Redis is a store that several nodes share. What waits is in one stream for
// each queue; what each entry is, and how it stands, is in a hash of its own.
//
// The server must write each change to its disk before it answers: appendonly
// yes, appendfsync always. Any other is refused, for it would forget what was
// accepted.
type Redis struct {
	client *redis.Client
	prefix string
	limits Limits

	mu      sync.Mutex
	trusted bool // the server was found to write to its disk
}

// OpenRedis doesn't touch the network yet.
func OpenRedis(o RedisOptions) (*Redis, error) {
	o.SetDefaults()
	if o.Prefix == "" {
		o.Prefix = "kong-prefect:outbox"
	}
	options, err := redis.ParseURL(strings.TrimSpace(o.URL))
	if err != nil {
		// The error may quote the address with its password.
		return nil, errors.New("outbox: not a Redis address: write redis://USER:PASSWORD@HOST:PORT/DB")
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = redisTimeout, redisTimeout, redisTimeout
	options.DisableIdentity = true
	redis.SetLogger(quiet{})
	return &Redis{client: redis.NewClient(options), prefix: "{" + o.Prefix + "}", limits: o.Limits}, nil
}

// quiet is the library's log: every error comes back to who asked.
type quiet struct{}

// Printf writes nothing.
func (quiet) Printf(context.Context, string, ...any) {}

// Close closes the connections.
func (r *Redis) Close() error { return r.client.Close() }

func (r *Redis) key(parts ...string) string { return r.prefix + ":" + strings.Join(parts, ":") }

func (r *Redis) entryKey(id uuid.UUID) string { return r.key("entry", id.String()) }

// statusKey is a sorted set of the ids in a status, by their time.
func (r *Redis) statusKey(s Status) string { return r.key("status", string(s)) }

// queuesKey is a sorted set of a server's queues in which something waits, by
// the first entry's place.
func (r *Redis) queuesKey(server string) string { return r.key("queues", short(server)) }

// numberKey is how many entries ever came into a queue.
func (r *Redis) numberKey() string { return r.key("number") }

func (r *Redis) streamKey(server, queue string) string { return r.key("queue", short(server), queue) }

// writesToDisk asks once whether the server keeps what it takes.
func (r *Redis) writesToDisk(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trusted {
		return nil
	}
	settings, err := r.client.ConfigGet(ctx, "append*").Result()
	if err != nil {
		return redisError(err)
	}
	if settings["appendonly"] != "yes" || settings["appendfsync"] != "always" {
		return fmt.Errorf("outbox: this Redis would forget what was accepted: set appendonly yes and appendfsync always (they are %q and %q)",
			settings["appendonly"], settings["appendfsync"])
	}
	r.trusted = true
	return nil
}

// Add takes a waiting entry.
func (r *Redis) Add(ctx context.Context, e Entry) (held Entry, added bool, err error) {
	if err := r.writesToDisk(ctx); err != nil {
		return Entry{}, false, err
	}
	e.Status = Waiting
	data, err := e.encode()
	if err != nil {
		return Entry{}, false, err
	}
	answer, err := addScript.Run(ctx, r.client,
		[]string{r.entryKey(e.ID), r.streamKey(e.Server, e.Queue), r.queuesKey(e.Server), r.statusKey(Waiting), r.statusKey(Dead), r.statusKey(Dropped), r.numberKey()},
		e.ID.String(), e.Queue, data, e.Payload, e.Fingerprint, r.limits.MaxWaiting, r.limits.MaxWaitingPerQueue, e.Accepted.UnixMicro()).Text()
	if err != nil {
		return Entry{}, false, redisError(err)
	}
	switch answer {
	case "added":
		return e, true, nil
	case "held":
		held, err := r.Entry(ctx, e.ID)
		return held, false, err
	case "other":
		return Entry{}, false, ErrOther
	}
	return Entry{}, false, fmt.Errorf("%w: too many entries wait", ErrFull)
}

// Entry finds one.
func (r *Redis) Entry(ctx context.Context, id uuid.UUID) (Entry, error) {
	fields, err := r.client.HMGet(ctx, r.entryKey(id), "entry", "payload").Result()
	if err != nil {
		return Entry{}, redisError(err)
	}
	data, ok := fields[0].(string)
	if !ok {
		return Entry{}, ErrUnknown
	}
	payload, _ := fields[1].(string)
	return decodeEntry([]byte(data), []byte(payload))
}

// List gives the oldest of a status.
func (r *Redis) List(ctx context.Context, status Status, limit int) ([]Entry, error) {
	ids, err := r.client.ZRange(ctx, r.statusKey(status), 0, int64(limit)-1).Result()
	if err != nil {
		return nil, redisError(err)
	}
	all, err := r.entries(ctx, ids)
	for i := range all {
		all[i].Payload = nil
	}
	return all, err
}

// entries reads several at once; those that are gone are left out.
func (r *Redis) entries(ctx context.Context, ids []string) ([]Entry, error) {
	all := []Entry{}
	for _, text := range ids {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("outbox: %w", err)
		}
		e, err := r.Entry(ctx, id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// Waits looks for one of the queue.
func (r *Redis) Waits(ctx context.Context, server, queue string) (bool, error) {
	n, err := r.client.Exists(ctx, r.streamKey(server, queue)).Result()
	return n > 0, redisError(err)
}

// Heads gives the first of each queue.
func (r *Redis) Heads(ctx context.Context, server string, limit int) ([]Entry, error) {
	queues, err := r.client.ZRange(ctx, r.queuesKey(server), 0, int64(limit)-1).Result()
	if err != nil {
		return nil, redisError(err)
	}
	var ids []string
	for _, queue := range queues {
		first, err := r.client.XRangeN(ctx, r.streamKey(server, queue), "-", "+", 1).Result()
		if err != nil {
			return nil, redisError(err)
		}
		if len(first) > 0 {
			id, _ := first[0].Values["id"].(string)
			ids = append(ids, id)
		}
	}
	return r.entries(ctx, ids)
}

// Settle changes an entry's status.
func (r *Redis) Settle(ctx context.Context, id uuid.UUID, from Status, change Settlement) error {
	e, err := r.Entry(ctx, id)
	if err != nil {
		return err
	}
	if e.Status != from {
		return fmt.Errorf("%w: %s, not %s", ErrChanged, e.Status, from)
	}
	e = e.settle(change)
	data, err := e.encode()
	if err != nil {
		return err
	}
	at := e.Settled
	if e.Status == Waiting {
		at = e.Accepted
	}
	answer, err := settleScript.Run(ctx, r.client,
		[]string{r.entryKey(id), r.streamKey(e.Server, e.Queue), r.queuesKey(e.Server), r.statusKey(from), r.statusKey(e.Status), r.numberKey()},
		id.String(), e.Queue, string(from), string(e.Status), data, e.deliverable(), at.UnixMicro()).Text()
	switch {
	case err != nil:
		return redisError(err)
	case answer == "unknown":
		return ErrUnknown
	case answer == "changed":
		return ErrChanged
	}
	return nil
}

// Forget removes what is old or too much.
func (r *Redis) Forget(ctx context.Context, status Status, before time.Time, newest int) (int, error) {
	if status == Waiting {
		return 0, errForgetsWaiting
	}
	n, err := forgetScript.Run(ctx, r.client, []string{r.statusKey(status)}, r.key("entry"), before.UnixMicro(), newest).Int()
	return n, redisError(err)
}

// Keep puts something beside the entries.
func (r *Redis) Keep(ctx context.Context, name string, value []byte) error {
	return redisError(r.client.HSet(ctx, r.key("kept"), name, value).Err())
}

// Kept gives what Keep took.
func (r *Redis) Kept(ctx context.Context, name string) ([]byte, error) {
	value, err := r.client.HGet(ctx, r.key("kept"), name).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return value, redisError(err)
}

// redisError knows a disk or memory that is full: then Redis takes no writes.
func redisError(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); strings.HasPrefix(text, "MISCONF ") || strings.HasPrefix(text, "OOM ") {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("outbox: %w", err)
}
