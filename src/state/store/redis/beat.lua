-- One gateway says that it lives, and learns how many do, and what time it is here (milliseconds since 1970).
-- KEYS: the set of gateways. ARGV: this one's name, and how long a silent one still counts (milliseconds).
-- Answers how many live, the time, and whether the key held something else (1 or 0).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind, spoilt = redis.call('TYPE', KEYS[1]).ok, 0
if kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
  spoilt = 1
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
-- A time in the future means that the clock was set back: such a name would count for ever.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { redis.call('ZCARD', KEYS[1]), now, spoilt }
