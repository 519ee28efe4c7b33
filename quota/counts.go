package quota

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// leftAlone is how long a Redis that gave no answer isn't asked again: callers
// shall not wait for it one by one.
const leftAlone = 2 * time.Second

// CountsOptions say where runs are counted.
type CountsOptions struct {
	// RedisURL is a Redis that several nodes share, as
	// redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// for TLS. Default: the
	// runs are counted in this process's memory.
	RedisURL string
	// AloneWithoutRedis lets this node count in its own memory while Redis is
	// gone: the nodes together then let through more. Default: nobody passes.
	AloneWithoutRedis bool
	// Logger hears when Redis goes and comes back. Default: nothing is logged.
	Logger *slog.Logger
	// Now is the clock of the memory. Default: time.Now.
	Now func() time.Time
}

// Counts are where runs are counted, by all routes that use them.
type Counts struct {
	options CountsOptions
	redis   *inRedis // nil: in memory
	memory  *memory

	mu    sync.Mutex
	gone  bool
	until time.Time // redis isn't asked before
}

// NewCounts doesn't touch the network.
func NewCounts(o CountsOptions) (*Counts, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Counts{options: o, memory: newMemory(o.Now)}
	if o.RedisURL == "" {
		return c, nil
	}
	var err error
	c.redis, err = newInRedis(o.RedisURL)
	return c, err
}

// Close closes connections.
func (c *Counts) Close() error {
	if c.redis == nil {
		return nil
	}
	return c.redis.client.Close()
}

// enter counts where that can be done, and says where it was.
func (c *Counts) enter(ctx context.Context, run string, list []room) (rooms, []stay, error) {
	if c.redis != nil {
		stays, err := c.shared(ctx, run, list)
		if err == nil {
			return c.redis, stays, nil
		}
		if !c.options.AloneWithoutRedis {
			return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	stays, err := c.memory.enter(ctx, run, list)
	return c.memory, stays, err
}

// shared asks Redis, unless it was just found gone.
func (c *Counts) shared(ctx context.Context, run string, list []room) ([]stay, error) {
	c.mu.Lock()
	alone := c.gone && c.options.Now().Before(c.until)
	c.mu.Unlock()
	if alone {
		return nil, fmt.Errorf("redis at %s gave no answer a moment ago", c.redis.client.Options().Addr)
	}
	stays, err := c.redis.enter(ctx, run, list)
	if ctx.Err() != nil {
		return nil, ctx.Err() // the caller's end says nothing about Redis
	}
	c.note(err)
	return stays, err
}

// note tells the operator once when Redis goes, and once when it is back.
func (c *Counts) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.gone
	if c.gone = err != nil; c.gone {
		c.until = c.options.Now().Add(leftAlone)
	}
	if c.gone == was {
		return
	}
	log := c.options.Logger.With("redis", c.redis.client.Options().Addr)
	switch {
	case !c.gone:
		log.Warn("quotas: Redis is back, runs are counted there again")
	case c.options.AloneWithoutRedis:
		log.Error("quotas: Redis is gone, this node counts its own runs alone", "error", err)
	default:
		log.Error("quotas: Redis is gone, routes with quotas start no runs", "error", err)
	}
}
