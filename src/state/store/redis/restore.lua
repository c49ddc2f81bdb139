-- Puts all texts back where the key is of another type.
-- KEYS: the map. ARGV: a new word, and names and texts in turns.
-- Answers whether it did.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'hash' or kind == 'none' then return 0 end
redis.call('DEL', KEYS[1])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], '', ARGV[1])
return 1
