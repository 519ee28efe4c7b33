package quota

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisTimeout bounds one question: a caller waits for it.
const redisTimeout = time.Second

// keyPrefix begins every key. The deployment in braces keeps the rooms of one
// run in one slot of a cluster.
const keyPrefix = "kong-prefect:quota:"

// inRedis are rooms that several nodes share: sorted sets of runs by the time
// at which they came in, by the server's own clock.
type inRedis struct{ client *redis.Client }

func newInRedis(url string) (*inRedis, error) {
	options, err := redis.ParseURL(strings.TrimSpace(url))
	if err != nil {
		// The error may quote the address with its password.
		return nil, errors.New("not a Redis address: write redis://USER:PASSWORD@HOST:PORT/DB")
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = redisTimeout, redisTimeout, redisTimeout
	options.MaxRetries, options.DialerRetries = 1, 1
	options.DisableIdentity = true
	return &inRedis{redis.NewClient(options)}, nil
}

// The library's own log is silent: every error comes back to who asked.
func init() { redis.SetLogger(quiet{}) }

type quiet struct{}

// Printf writes nothing.
func (quiet) Printf(context.Context, string, ...any) {}

// enterScript is one step for Redis. KEYS: the rooms. ARGV: the run, a minute
// in microseconds, and how many each room holds. It answers, for each room,
// whether the run was there, whether the room is full, how many are there, how
// many came earlier, and the microseconds until the earliest leaves. No two
// scripts run in the same microsecond, so the times are an order.
var enterScript = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local before, full, none = {}, {}, false
for i, room in ipairs(KEYS) do
	redis.call('ZREMRANGEBYSCORE', room, '-inf', now - ARGV[2])
	before[i] = redis.call('ZSCORE', room, ARGV[1]) and 1 or 0
	local most = tonumber(ARGV[2 + i])
	full[i] = (before[i] == 0 and most > 0 and redis.call('ZCARD', room) >= most) and 1 or 0
	none = none or full[i] == 1
end
local answer = {}
for i, room in ipairs(KEYS) do
	if not none then
		redis.call('ZADD', room, 'NX', now, ARGV[1])
		redis.call('PEXPIRE', room, math.ceil(ARGV[2] / 1000))
	end
	local earliest = redis.call('ZRANGE', room, 0, 0, 'WITHSCORES')
	local values = {before[i], full[i], redis.call('ZCARD', room), redis.call('ZRANK', room, ARGV[1]) or 0,
		earliest[2] and earliest[2] + ARGV[2] - now or 0}
	for _, value in ipairs(values) do answer[#answer + 1] = value end
end
return answer
`)

func (r *inRedis) enter(ctx context.Context, run string, list []room) ([]stay, error) {
	keys, args := make([]string, len(list)), []any{run, minute.Microseconds()}
	for i, one := range list {
		keys[i] = keyPrefix + one.key
		args = append(args, one.most)
	}
	const each = 5
	values, err := enterScript.Run(ctx, r.client, keys, args...).Int64Slice()
	if err == nil && len(values) != each*len(list) {
		err = fmt.Errorf("%d values for %d rooms", len(values), len(list))
	}
	if err != nil {
		return nil, err
	}
	stays := make([]stay, len(list))
	for i := range list {
		v := values[each*i:]
		stays[i] = stay{before: v[0] == 1, full: v[1] == 1, count: int(v[2]), rank: int(v[3]), reset: time.Duration(v[4]) * time.Microsecond}
	}
	return stays, nil
}

func (r *inRedis) leave(ctx context.Context, run string, keys []string) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	pipe := r.client.Pipeline()
	for _, key := range keys {
		pipe.ZRem(ctx, keyPrefix+key, run)
	}
	_, err := pipe.Exec(ctx)
	return err
}
