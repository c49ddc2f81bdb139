-- What there is.
-- KEYS: the map. ARGV: 'true' when the next is its word as it was read last, and that word.
-- Answers whether the key is of another type, the word, and, if that is not the one that is known, names and texts in turns.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return { 1, '', {} } end
local word = redis.call('HGET', KEYS[1], '') or ''
if ARGV[1] == 'true' and word == ARGV[2] then return { 0, word, {} } end
return { 0, word, redis.call('HGETALL', KEYS[1]) }
