-- A lease is taken, unless another has it.
-- KEYS: the lease. ARGV: what it is taken with, and for how long (milliseconds).
-- Answers whether it was taken, and whether its key held something else (1 or 0).
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return { 1, 0 } end
-- No lease is without an end, or has one so far: it would keep everybody waiting for ever.
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left <= 10 * tonumber(ARGV[2]) then return { 0, 0 } end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 1, 1 }
