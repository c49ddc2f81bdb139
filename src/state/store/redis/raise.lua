-- A name's moment is raised, never lowered. The board is known by a word that changes with it, under the empty name.
-- Moments are the store's own: gateways' clocks differ.
-- KEYS: the board. ARGV: the name, how long ago its moment was (milliseconds), a new word, the most names, how long the board is
-- kept (milliseconds), and the name that stands for all others.
-- Answers whether the key held something else (1 or 0).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moment = now - tonumber(ARGV[2])
local kind, spoilt = redis.call('TYPE', KEYS[1]).ok, 0
if kind ~= 'hash' and kind ~= 'none' then
  -- Nobody knows what was on it: rather too much than too little.
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[6], string.format('%.0f', now))
  spoilt = 1
end
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') or 0
-- The clock was set back: what was to be is not waited for.
if before > now then before = 0 end
if moment > before then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', moment))
end
if ARGV[1] == ARGV[6] or redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
  local all = tonumber(redis.call('HGET', KEYS[1], ARGV[6]) or '0') or now
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[6], string.format('%.0f', math.max(all, moment)))
end
redis.call('HSET', KEYS[1], '', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return spoilt
