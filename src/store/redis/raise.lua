-- A name's moment is raised, never lowered. The board is known by a word that changes with it, under the empty name.
-- KEYS: the board. ARGV: the name, its moment, a new word, the most names, how long the board is kept (milliseconds), and
-- the name that stands for all others.
local moment = tonumber(ARGV[2])
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if moment > before then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', moment))
end
if ARGV[1] == ARGV[6] or redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
  local all = tonumber(redis.call('HGET', KEYS[1], ARGV[6]) or '0')
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[6], string.format('%.0f', math.max(all, moment)))
end
redis.call('HSET', KEYS[1], '', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
