package outbox

import "github.com/redis/go-redis/v9"

// Each script is one step for Redis: nobody sees half of it, and nothing of it
// is lost alone. An entry's hash has the fields entry, payload, status and
// fingerprint, and its place in the queue's stream. What is in the stream has
// its id and its number among all that ever came into a queue; a queue stands
// among the others where the number of its first entry does.

// addScript answers added, held, other or full.
// KEYS: entry, stream, queues, status:waiting, status:dead, status:dropped, last number.
// ARGV: id, queue, entry, payload, fingerprint, most waiting, most of a queue, time.
var addScript = redis.NewScript(`
local status = redis.call('HGET', KEYS[1], 'status')
if status then
	if redis.call('HGET', KEYS[1], 'fingerprint') ~= ARGV[5] then return 'other' end
	if status ~= 'dead' and status ~= 'dropped' then return 'held' end
end
if redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[6]) or redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[7]) then return 'full' end
if status then
	redis.call('ZREM', KEYS[5], ARGV[1])
	redis.call('ZREM', KEYS[6], ARGV[1])
end
local number = redis.call('INCR', KEYS[7])
local place = redis.call('XADD', KEYS[2], '*', 'id', ARGV[1], 'number', number)
redis.call('HSET', KEYS[1], 'entry', ARGV[3], 'payload', ARGV[4], 'status', 'waiting', 'fingerprint', ARGV[5], 'place', place)
redis.call('ZADD', KEYS[3], 'NX', number, ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[8], ARGV[1])
return 'added'
`)

// settleScript answers settled, unknown or changed.
// KEYS: entry, stream, queues, the old status's set, the new one's, last number.
// ARGV: id, queue, old status, new status, entry, whether the payload stays, time.
var settleScript = redis.NewScript(`
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return 'unknown' end
if status ~= ARGV[3] then return 'changed' end
redis.call('HSET', KEYS[1], 'entry', ARGV[5], 'status', ARGV[4])
if ARGV[6] == '0' then redis.call('HDEL', KEYS[1], 'payload') end
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[5], ARGV[7], ARGV[1])
if ARGV[3] == 'waiting' then
	redis.call('XDEL', KEYS[2], redis.call('HGET', KEYS[1], 'place'))
	local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
	if first then
		redis.call('ZADD', KEYS[3], first[2][4], ARGV[2])
	else
		redis.call('DEL', KEYS[2])
		redis.call('ZREM', KEYS[3], ARGV[2])
	end
end
if ARGV[4] == 'waiting' then
	local number = redis.call('INCR', KEYS[6])
	redis.call('HSET', KEYS[1], 'place', redis.call('XADD', KEYS[2], '*', 'id', ARGV[1], 'number', number))
	redis.call('ZADD', KEYS[3], 'NX', number, ARGV[2])
end
return 'settled'
`)

// forgetScript answers how many it removed, a thousand at most.
// KEYS: the status's set. ARGV: begin of the entries' keys, time, how many stay.
var forgetScript = redis.NewScript(`
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2], 'LIMIT', 0, 1000)
if #old == 0 then
	local more = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[3])
	if more > 0 then old = redis.call('ZRANGE', KEYS[1], 0, math.min(more, 1000) - 1) end
end
for _, id in ipairs(old) do
	redis.call('DEL', ARGV[1] .. ':' .. id)
	redis.call('ZREM', KEYS[1], id)
end
return #old
`)

// renewScript holds a lead on, and releaseScript lets it go, where it is still
// ours. KEYS: the lead. ARGV: who, milliseconds.
var (
	renewScript   = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`)
	releaseScript = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)
)
