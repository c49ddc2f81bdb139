-- Corrects what was taken: gcra::settle on the server's clock. What is no number is replaced.
-- KEYS: the key. ARGV: what was held, what was used, when the hold has come back, the capacity (microseconds).
-- Answers the debt (microseconds).
local time = redis.call('TIME')
local now = (time[1] - 1767225600) * 1000000 + time[2]
local moment = tonumber(redis.call('MGET', KEYS[1])[1] or '') or 0
local held, used, hold_end, capacity = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if moment ~= moment then moment = 0 end
moment = math.min(moment, now + 10 * capacity)
if used >= held then
  moment = math.min(math.max(moment, now) + used - held, math.max(moment, now + 10 * capacity))
else
  moment = math.max(0, moment - math.min(held - used, math.max(0, hold_end - now)))
end
local ttl = math.ceil(math.max(capacity, moment - now) / 1000) + 1000
redis.call('SET', KEYS[1], string.format('%.3f', moment), 'PX', string.format('%.0f', ttl))
return math.max(0, math.ceil(moment - now))
