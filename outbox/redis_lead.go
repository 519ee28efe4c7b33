package outbox

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A lead on Redis lasts for leadFor and is renewed every leadRenewEvery: when
// its holder is killed, another takes it that much later at the latest. A
// holder that can't renew it gives it up before anybody else may have it.
const (
	leadFor        = 10 * time.Second
	leadRenewEvery = 2 * time.Second
	leadRenewLimit = 3 * time.Second
)

// Lead holds a key that ends by itself.
func (r *Redis) Lead(ctx context.Context, server string) (leading context.Context, release func(), err error) {
	key, who := r.key("lead", short(server)), uuid.NewString()
	tick := time.NewTicker(leadRetryEvery)
	defer tick.Stop()
	for {
		taken, err := r.client.SetNX(ctx, key, who, leadFor).Result()
		if err != nil {
			return nil, nil, redisError(err)
		}
		if taken {
			break
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-tick.C:
		}
	}
	leading, cancel := context.WithCancel(ctx)
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		defer cancel()
		r.renew(leading, key, who)
	}()
	return leading, func() {
		cancel()
		<-renewing
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leadRenewLimit)
		defer cancel()
		_ = releaseScript.Run(ctx, r.client, []string{key}, who).Err() // it ends by itself
	}, nil
}

// renew holds the lead on until it is lost or the context ends.
func (r *Redis) renew(ctx context.Context, key, who string) {
	tick := time.NewTicker(leadRenewEvery)
	defer tick.Stop()
	until := time.Now().Add(leadFor)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		asking, cancel := context.WithTimeout(ctx, leadRenewLimit)
		held, err := renewScript.Run(asking, r.client, []string{key}, who, leadFor.Milliseconds()).Int()
		cancel()
		switch {
		case err == nil && held == 0:
			return
		case err == nil:
			until = began.Add(leadFor)
		case time.Until(until) < leadRenewEvery+leadRenewLimit:
			return
		}
	}
}
