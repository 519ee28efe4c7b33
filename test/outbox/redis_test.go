package outbox_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/outbox/outboxtest"
	"github.com/kong-prefect/kong-prefect/test/stack"
)

func startRedis(t *testing.T, settings ...string) *stack.Redis {
	r, err := stack.StartRedis(t.Context(), settings...)
	if errors.Is(err, stack.ErrNotInstalled) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(r.Stop)
	return r
}

func open(t *testing.T, r *stack.Redis, limits outbox.Limits) *outbox.Redis {
	s, err := outbox.OpenRedis(outbox.RedisOptions{URL: r.URL(), Prefix: t.Name(), Limits: limits})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestRedis(t *testing.T) {
	r := startRedis(t, stack.Durable...)
	t.Run("store", func(t *testing.T) {
		outboxtest.Run(t, func(t *testing.T, limits outbox.Limits) outbox.Store { return open(t, r, limits) })
	})
}

func TestARedisThatForgetsIsRefused(t *testing.T) {
	for name, settings := range map[string][]string{
		"nothing on disk":      nil,
		"on disk, but not now": {"appendonly yes", "appendfsync everysec"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRedis(t, settings...)
			_, _, err := open(t, r, outbox.Limits{}).Add(t.Context(), outboxtest.Entry("q"))
			require.ErrorContains(t, err, "set appendonly yes and appendfsync always")
		})
	}
}

// What was accepted before the server was killed is there afterwards.
func TestRedisIsKilled(t *testing.T) {
	r := startRedis(t, stack.Durable...)
	s := open(t, r, outbox.Limits{})
	var (
		mu       sync.Mutex
		accepted []uuid.UUID
		dead     atomic.Bool
		wg       sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			for !dead.Load() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				e := outboxtest.Entry("q")
				_, _, err := s.Add(ctx, e)
				cancel()
				if err != nil {
					return
				}
				mu.Lock()
				accepted = append(accepted, e.ID)
				mu.Unlock()
			}
		})
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(accepted) > 100 }, 10*time.Second, time.Millisecond)
	r.Kill()
	dead.Store(true)
	wg.Wait()
	require.NoError(t, r.Restart(t.Context()))
	require.Eventually(t, func() bool { _, err := s.Waits(t.Context(), "", ""); return err == nil }, 10*time.Second, 50*time.Millisecond,
		"the client finds the server again")
	for _, id := range accepted {
		e, err := s.Entry(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, outbox.Waiting, e.Status)
	}
}

// A lead whose holder has died is free again after some seconds, and a holder that can't renew it gives it up.
func TestALeadIsLostWithItsServer(t *testing.T) {
	r := startRedis(t, stack.Durable...)
	leading, release, err := open(t, r, outbox.Limits{}).Lead(t.Context(), "server")
	require.NoError(t, err)
	defer release()
	r.Kill()
	select {
	case <-leading.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the lead is held without a server")
	}
}

// Redis refuses writes when its memory or its disk is full.
func TestARedisThatIsFull(t *testing.T) {
	r := startRedis(t, stack.Durable...)
	s := open(t, r, outbox.Limits{})
	_, _, err := s.Add(t.Context(), outboxtest.Entry("q"))
	require.NoError(t, err)
	options, err := redis.ParseURL(r.URL())
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close() //nolint:errcheck // nothing is lost
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	_, _, err = s.Add(t.Context(), outboxtest.Entry("q"))
	require.ErrorIs(t, err, outbox.ErrFull)
}
